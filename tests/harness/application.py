"""An application behind the relay, as a process that can be killed and started anew."""

import random
import socket
import subprocess


class Application:
    """Its port is its last argument, and what it prints; use it with `with`."""

    def __init__(self, *command):
        self.command, self.port, self.process = [*map(str, command)], a_port(), None

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
        if printed != str(self.port):
            self.kill()
            raise OSError(f"{' '.join(self.command)} did not say where it serves: {printed!r}")

    def kill(self):
        """SIGKILL, as if it had run out of memory."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def terminate(self):
        """SIGTERM, as in a deployment, and its end."""
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()

    def url(self):
        return f"ws://127.0.0.1:{self.port}"


def a_port():
    """A free port that no connection is given as its own while the application is dead."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as given:
        first = int(given.read().split()[0])
    while True:
        port = random.randrange(10_000, max(first, 10_001))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
