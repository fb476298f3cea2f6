"""A Django site behind the daemon, and a TLS proxy in front of it: pages, events, a notebook's message."""

import http.client
import ssl
import subprocess
import sys
import time
from pathlib import Path

import harness.installing as installing
from harness.application import Application
from harness.daemon import Daemon
from harness.player import Player

HERE = Path(__file__).resolve().parent
TARGET = installing.TARGET / "applications"

# A cell of a notebook with a picture in it.
NOTEBOOK = 3_000_000

PAGES = 20

# The TLS proxy is believed: otherwise the site would see http, and redirect for ever.
TRUSTED = ['listeners[0].trusted_proxies=["127.0.0.1"]', 'listeners[0].forwarded="trust"']


def site(tally, program):
    python = installing.python_venv(TARGET / "python", HERE / "requirements.txt")
    openssl = installing.program("openssl", ["openssl"])
    cert, key = TARGET / "cert.pem", TARGET / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    installing.run(
        *[openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject],
        *["-keyout", key, "-out", cert],
    )
    with (
        Application(python, HERE / "django_site.py") as django,
        Daemon(program, *TRUSTED, relay=django.url()) as daemon,
    ):
        port = daemon.url("").rsplit(":", 1)[1]
        with Application(sys.executable, HERE / "tls_proxy.py", cert, key, port) as proxy:
            context = ssl.create_default_context(cafile=cert)

            def connect():
                return http.client.HTTPSConnection(
                    "localhost", proxy.port, timeout=10, context=context
                )

            tally.judge("site redirects to https without TLS in front", redirected(daemon))
            tally.judge("site is no redirect loop behind TLS", session(connect))
            tally.judge("site streams events", events(connect))
            command = [python, HERE / "notebook.py", cert]
            url = f"wss://localhost:{proxy.port}/socket"
            faults = Player(command, url, str(NOTEBOOK)).faults()
            tally.judge("site a notebook's message of 3 MB passes both ways", faults)
            tally.judge("site plain HTTP leaves no record", recorded(daemon))
            tally.judge("site an open stream of events holds no stop", stopped(daemon, connect))


def redirected(daemon):
    connection = http.client.HTTPConnection(daemon.url("").removeprefix("ws://"), timeout=10)
    connection.request("GET", "/", headers={"Host": "localhost"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    location = answer.getheader("Location")
    return [] if (answer.status, location) == (301, "https://localhost/") else [
        f"301 to https is due, got {answer.status} to {location}"
    ]


def session(connect):
    """A browser's session: pages and a form, one after the other, over one connection."""
    connection, faults, cookie, sockets = connect(), [], "", set()
    for number in range(1, PAGES + 1):
        connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        body = answer.read().decode()
        sockets.add(id(connection.sock))
        cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
        seen = (answer.status, body.split(",")[0], cookie)
        if seen != (200, "secure: True", f"visits={number}"):
            faults.append(f"page {number}: {seen}")
    connection.request("POST", "/form", body=b"abc")
    answer = connection.getresponse().read()
    if answer != b"cba":
        faults.append(f"the form was answered {answer}")
    if len(sockets) != 1 or connection.sock is None:
        faults.append(f"the connection was not kept: {len(sockets)} of them")
    connection.close()
    return faults


def events(connect):
    connection = connect()
    connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    lines = [answer.readline() for _ in range(6)]
    connection.close()
    due = [line for number in range(3) for line in (b"data: %d\n" % number, b"\n")]
    return [] if lines == due else [f"{due} is due, got {lines}"]


def recorded(daemon):
    """Two endings of the one WebSocket, and no attempt."""
    try:
        records = daemon.await_endings(2, lambda _: True, "both legs of the notebook")
    except TimeoutError as why:
        return [str(why)]
    kinds = [record["kind"] for record in records]
    return [] if kinds == ["clean", "clean"] else [f"got {kinds}"]


def stopped(daemon, connect):
    connection = connect()
    connection.request("GET", "/events")
    answer = connection.getresponse()
    answer.readline()
    began = time.monotonic()
    daemon.signal("TERM")
    code = daemon.await_exit(20)
    took = time.monotonic() - began
    connection.close()
    return [] if code == 0 and took < 5 else [f"exit code {code} after {took:.1f} s"]
