"""A web server whose page opens the WebSocket that its query names."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"""<!doctype html><title>lastword</title><script>
  const ws = new WebSocket(decodeURIComponent(location.search.slice(1)));
  window.outcome = new Promise((resolve) => {
    ws.onopen = () => ws.send("hello");
    ws.onmessage = ({ data }) => { resolve(data); ws.close(1000); };
    ws.onclose = ({ code }) => resolve(code);
  });
</script>"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


class Pages:
    """A server on loopback; use it with `with`."""

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
