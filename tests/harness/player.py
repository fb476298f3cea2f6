"""A client in a process of its own that plays one scenario and says what came of it."""

import json
import subprocess
import threading

DEADLINE = 60


class Player:
    """One client script in one scenario."""

    def __init__(self, command, url, scenario):
        self.process = subprocess.Popen(
            [*map(str, command), url, scenario],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.killer = threading.Timer(DEADLINE, self.process.kill)
        self.killer.start()
        self.read = []  # the lines so far

    def await_connected(self):
        return self.await_line("connected")

    def await_line(self, due):
        """Reads up to this line; the script's own deadline bounds this."""
        for line in self.process.stdout:
            self.read.append(line)
            if line == f"{due}\n":
                return True
        return False

    def faults(self):
        """Waits for the script and returns what it found wrong."""
        return self.outcome()[1]

    def outcome(self):
        """Waits for the script; returns its summary, if there is one, and what it found wrong."""
        rest, _ = self.process.communicate()
        said = "".join(self.read) + rest
        self.killer.cancel()
        try:
            summary = json.loads(said.splitlines()[-1])
        except (IndexError, ValueError):
            summary = None
        if self.process.returncode == 0 and isinstance(summary, dict):
            return summary, []
        return None, [f"the client says {said.strip()[-2000:]}"]
