"""Many connections, opened a few at a time, and held."""

import socket
from urllib.parse import urlsplit

# Below limits.half_open_per_ip.
AT_ONCE = 48


class Crowd:
    def __init__(self, url):
        self.url, self.sockets, self.fault = urlsplit(url), [], None

    def open(self, count):
        """Opens connections; what goes wrong is kept for whoever waits."""
        request = (
            f"GET {self.url.path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        try:
            while len(self.sockets) < count:
                some = []
                for _ in range(min(AT_ONCE, count - len(self.sockets))):
                    some.append(socket.create_connection((self.url.hostname, self.url.port), 20))
                    some[-1].sendall(request)
                self.sockets += some
                for one in some:
                    answer = one.recv(1024)
                    if not answer.startswith(b"HTTP/1.1 101 "):
                        raise OSError(f"101 is due, got {answer[:200]}")
        except OSError as why:
            self.fault = f"connection {len(self.sockets)} of {count}: {why}"

    def close(self):
        for one in self.sockets:
            one.close()
