"""The daemon as a process: started, listened to, signalled, and never left behind."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time


class Daemon:
    """A running daemon with JSON logs and an empty state directory; use it with `with`.

    `relay` is the URL of an application to stand in front of, `configuration` a file.
    """

    READY_WITHIN = 30

    def __init__(self, program, *settings, relay=None, configuration=None):
        self.state = tempfile.TemporaryDirectory(prefix="lastword-")
        arguments = [str(program), "serve", *(["--relay", relay] if relay else [])]
        arguments += ["--config", str(configuration)] if configuration else []
        ours = ["listeners[0].listen", "control.listen"]
        ours = [f'{key}="127.0.0.1:0"' for key in ours] + ['log.format="json"']
        for setting in [*ours, *settings]:
            arguments += ["--set", setting]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LASTWORD")}
        environment.pop("NOTIFY_SOCKET", None)
        environment["STATE_DIRECTORY"] = self.state.name
        self.process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed, self.log, self.grown = [], [], threading.Condition()
        for stream, lines in ((self.process.stdout, self.printed), (self.process.stderr, self.log)):
            threading.Thread(target=self._collect, args=(stream, lines), daemon=True).start()

    def __enter__(self):
        try:
            self._await(lambda: "ready" in self.printed, "`ready`", self.READY_WITHIN)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.state.cleanup()

    def url(self, target):
        listener = next(line for line in self.printed if line.startswith("listener "))
        return listener.rsplit(" ", 1)[1] + target

    def control(self, target=""):
        """The URL of the control API."""
        return next(l for l in self.printed if l.startswith("control ")).split(" ", 1)[1] + target

    def endings(self):
        """Every record in the log so far: endings, and attempts that never opened."""
        with self.grown:
            lines = list(self.log)
        records = []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("event") in ("ended", "open_failed"):
                records.append(record["ending"])
        return records

    def await_ending(self, fits, what, within=10):
        """The first record that fits, old or new."""
        return self._await(
            lambda: next((ending for ending in self.endings() if fits(ending)), None),
            f"the ending of {what}",
            within,
        )

    def await_endings(self, count, fits, what, within=20):
        """The records that fit, once there are so many."""
        return self._await(
            lambda: found if len(found := list(filter(fits, self.endings()))) >= count else None,
            f"{count} endings of {what}",
            within,
        )

    def memory_at_rest(self):
        """What it holds in memory, in KiB, once it has given back what was freed.

        It does so two looks, a second apart, behind a storm, without a notification.
        """
        least, until = self._memory(), time.monotonic() + 3
        while time.monotonic() < until:
            time.sleep(0.1)
            least = min(least, self._memory())
        return least

    def _memory(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def signal(self, name):
        self.process.send_signal(getattr(signal, f"SIG{name}"))

    def await_exit(self, within):
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"awaited the daemon's exit for {within} s; {self.story()}") from None

    def story(self):
        with self.grown:
            return "\n".join(["stdout:", *self.printed, "stderr:", *self.log[-15:]])

    def _await(self, look, what, within):
        deadline = time.monotonic() + within
        with self.grown:
            while not (found := look()):
                left = deadline - time.monotonic()
                gone = self.process.poll() is not None and left < within - 1
                if left <= 0 or gone:
                    how = f"got exit code {self.process.returncode}" if gone else "in vain"
                    raise TimeoutError(f"awaited {what} for {within} s, {how}; {self.story()}")
                self.grown.wait(min(left, 0.5))
        return found

    def _collect(self, stream, lines):
        for line in stream:
            with self.grown:
                lines.append(line.rstrip("\n"))
                self.grown.notify_all()
