"""An application behind the relay, as a process that can be killed and started anew."""

import subprocess


class Application:
    """Prints its port, which is its last argument, 0 at first; use it with `with`."""

    def __init__(self, *command):
        self.command, self.port, self.process = [*map(str, command)], 0, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Starts it, on the port that it had before, and waits until it serves."""
        self.process = subprocess.Popen(
            [*self.command, str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        printed = self.process.stdout.readline().strip()
        if not printed.isdigit():
            self.kill()
            raise OSError(f"{' '.join(self.command)} did not say where it serves: {printed!r}")
        self.port = int(printed)

    def kill(self):
        """SIGKILL, as if it had run out of memory."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def url(self):
        return f"ws://127.0.0.1:{self.port}"
