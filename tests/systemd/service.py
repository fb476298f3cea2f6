"""The life of the service as systemd leads it."""

import subprocess
import time
from pathlib import Path

import harness.installing as installing
from harness.player import Player

HERE = Path(__file__).resolve().parent
DEPLOY = installing.ROOT / "deploy/systemd"
UNIT = "lastword.service"
URL, OTHER = "ws://127.0.0.1:8080/echo", "ws://127.0.0.1:8080/other"
CONFIGURATION = """
[[listeners]]
name = "public"
listen = "127.0.0.1:8080"

[[routes]]
name = "echo"
path = "/echo"
backend = { kind = "echo" }

[limits]
handshakes_per_second = 0
half_open_per_ip = 0

[drain]
within = "8s"
spread = "2s"
"""
OTHER_ROUTE = """
[[routes]]
name = "other"
path = "/other"
backend = { kind = "echo" }
"""
ACTIVATED = CONFIGURATION.replace("127.0.0.1:8080", "systemd:public")
SOCKET = "lastword.socket"
CROWD = []  # the command of crowd.py, once it is installed


class Skipped(Exception):
    """A scenario cannot be played on this system; the text says why."""


def prepare(program):
    """Installs the clients, and says what the machine has beside the host's files."""
    prepare_clients()
    return {"/usr/bin/lastword": program}


def prepare_clients():
    installing.program("curl", ["curl"])
    requirements = HERE.parent / "interop/requirements.txt"
    python = installing.python_venv(installing.TARGET / "interop/venv", requirements)
    CROWD[:] = [python, HERE / "crowd.py"]


def crowd(machine, scenario, url=URL, environment=()):
    """Starts clients, and waits until they are connected."""
    player = Player(machine.beside(*environment, *CROWD), url, scenario)
    if not player.await_connected():
        raise AssertionError(player.outcome()[1])
    return player


def fetch(machine, url):
    """What is answered to a GET of plain HTTP, and the status."""
    command = machine.beside("curl", "-sSk", "--max-time", "10", "--write-out", "\n%{http_code}", url)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.rsplit("\n", 1)


def outcome(player):
    summary, faults = player.outcome()
    if faults:
        raise AssertionError("; ".join(faults))
    return summary


def expect(what, due, got):
    if got != due:
        raise AssertionError(f"{what}: {due!r} is due, got {got!r}")


def install(machine, *units, configuration=CONFIGURATION):
    """Installs the units, as an administrator would without a package."""
    for unit in units:
        machine.write(f"/etc/systemd/system/{unit}", (DEPLOY / unit).read_text(encoding="utf-8"))
    machine.write("/etc/lastword/lastword.toml", configuration)
    machine.systemctl("daemon-reload")


def starts(machine):
    """`systemctl start` returns once clients can connect, and the unit says what it does."""
    install(machine, UNIT)
    machine.systemctl("start", UNIT)
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))
    expect("state", "running", machine.show(UNIT, "SubState"))
    machine.await_property(UNIT, "StatusText", lambda text: "0 open" in text or "ready" in text)
    expect("lines of an error", "-- No entries --\n", errors(machine))


def is_hardened(machine):
    """`systemd-analyze` finds nothing wrong with the units, and an exposure of at most 1.5."""
    install(machine, UNIT, SOCKET)
    files = [f"/etc/systemd/system/{unit}" for unit in (UNIT, SOCKET)]
    said = machine.run("systemd-analyze", "verify", *files)
    expect("systemd-analyze verify", "", said)
    machine.run("systemd-analyze", "security", "--threshold=15", UNIT)


def stops(machine):
    """A stop drains: each of 300 clients gets a Close, and the unit ends well."""
    install(machine, UNIT)
    machine.systemctl("start", UNIT)
    clients = crowd(machine, "hold:300")
    machine.systemctl("stop", UNIT)
    expect("closes", {"1012 service restart": 300}, outcome(clients))
    expect("result", "success", machine.show(UNIT, "Result"))
    expect("exit code", "0", machine.show(UNIT, "ExecMainStatus"))


def is_reloaded(machine):
    """A good configuration holds for new clients, a bad one changes nothing, and both close none."""
    install(machine, UNIT)
    machine.systemctl("start", UNIT)
    clients = crowd(machine, "hold:20")
    expect("before", {"404": 10}, outcome(crowd(machine, "knock:10:1", OTHER)))
    machine.write("/etc/lastword/lastword.toml", CONFIGURATION + OTHER_ROUTE)
    machine.systemctl("reload", UNIT)
    expect("after", {"opened": 10}, outcome(crowd(machine, "knock:10:1", OTHER)))

    machine.write("/etc/lastword/lastword.toml", CONFIGURATION + "max_connexions = 5\n")
    machine.systemctl("reload", UNIT, due=1)
    if "max_connexions" not in (said := machine.journal(UNIT)):
        raise AssertionError(f"the journal does not name the key: {said}")
    expect("state", "running", machine.show(UNIT, "SubState"))
    expect("after a bad one", {"opened": 10}, outcome(crowd(machine, "knock:10:1", OTHER)))
    machine.systemctl("stop", UNIT)
    expect("closes", {"1012 service restart": 20}, outcome(clients))


def is_reloaded_by_signal(machine):
    """Type=notify-reload, from systemd 253: `systemctl reload` sends SIGHUP and waits for the new configuration."""
    version = int(machine.run("systemctl", "--version").split()[1])
    if version < 253:
        raise Skipped(f"systemd {version} does not know Type=notify-reload, 253 does")
    install(machine, UNIT)
    drop_in(machine, "notify-reload.conf")
    machine.systemctl("start", UNIT)
    expect("type", "notify-reload", machine.show(UNIT, "Type"))
    clients = crowd(machine, "hold:20")
    machine.write("/etc/lastword/lastword.toml", CONFIGURATION + OTHER_ROUTE)
    machine.systemctl("reload", UNIT)
    expect("after", {"opened": 10}, outcome(crowd(machine, "knock:10:1", OTHER)))
    machine.systemctl("stop", UNIT)
    expect("closes", {"1012 service restart": 20}, outcome(clients))


def has_credentials(machine):
    """Keys and tokens that only root can read reach the daemon as credentials of systemd."""
    folder = "/run/credentials/lastword.service"
    tls = f'tls = {{ cert = "{folder}/cert", key = "{folder}/key" }}\n[[routes]]'
    control = f'[control]\ntoken_file = "{folder}/tokens"\n'
    configuration = CONFIGURATION.replace("[[routes]]", tls, 1) + control
    install(machine, UNIT, configuration=configuration)
    drop_in(machine, "credentials.conf")
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a -keyout key.pem -out fullchain.pem"
    tokens = "echo ops:operate:0123456789abcdef > tokens"
    machine.run("sh", "-c", f"umask 077 && cd /etc/lastword && {certificate} && {tokens}")
    machine.systemctl("start", UNIT)
    expect("plain HTTP over TLS", "426", fetch(machine, "https://127.0.0.1:8080/echo")[1])
    machine.run("lastword", "status", "--quiet", due=1)
    machine.run("lastword", "status", "--quiet", "--token-file", "/etc/lastword/tokens")
    expect("lines of an error", "-- No entries --\n", errors(machine))


def drop_in(machine, name):
    text = (DEPLOY / f"{UNIT}.d" / name).read_text(encoding="utf-8")
    machine.write(f"/etc/systemd/system/{UNIT}.d/{name}", text)
    machine.systemctl("daemon-reload")


def is_killed(machine):
    """SIGKILL: systemd restarts it, and the ledger has the connections that died."""
    install(machine, UNIT)
    machine.systemctl("start", UNIT)
    clients = crowd(machine, "hold:20")
    machine.systemctl("kill", "--signal=KILL", UNIT)
    machine.await_property(UNIT, "NRestarts", lambda number: number == "1")
    machine.await_property(UNIT, "SubState", lambda state: state == "running")
    expect("closes", {"1006": 20}, outcome(clients))
    died = machine.run("lastword", "endings", "--kind", "process_died", "--json")
    expect("endings", 20, died.count('"process_died"'))
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))


def is_activated(machine):
    """The first client starts the service, and the socket outlives it."""
    install(machine, UNIT, SOCKET, configuration=ACTIVATED)
    machine.systemctl("start", SOCKET)
    expect("state", "inactive", machine.show(UNIT, "ActiveState"))
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))
    expect("state", "active", machine.show(UNIT, "ActiveState"))


def is_killed_with_its_socket(machine):
    """SIGKILL while clients come: the socket is kept, and none of them is refused or reset."""
    install(machine, UNIT, SOCKET, configuration=ACTIVATED)
    machine.systemctl("start", SOCKET, UNIT)
    clients = crowd(machine, "hold:20")
    machine.systemctl("kill", "--signal=KILL", UNIT)
    expect("closes", {"1006": 20}, outcome(clients))
    # They come while there is no process, and are served by the next one.
    expect("clients", {"opened": 100}, outcome(crowd(machine, "knock:100:1")))
    expect("restarts", "1", machine.show(UNIT, "NRestarts"))


def is_hung(machine):
    """A process that hangs (SIGSTOP) is killed by the watchdog and restarted; its socket is kept."""
    install(machine, UNIT, SOCKET, configuration=ACTIVATED)
    # The unit's own patience is longer than a test has.
    machine.write(f"/etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nWatchdogSec=4s\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", SOCKET, UNIT)
    clients = crowd(machine, "hold:20")
    # While it is well, it says so.
    time.sleep(6)
    expect("restarts", "0", machine.show(UNIT, "NRestarts"))
    machine.systemctl("kill", "--signal=STOP", UNIT)
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))
    expect("restarts", "1", machine.show(UNIT, "NRestarts"))
    expect("closes", {"1006": 20}, outcome(clients))
    if "Watchdog timeout" not in (said := machine.journal(UNIT, 50)):
        raise AssertionError(f"it was not the watchdog: {said}")


def is_restarted_with_its_socket(machine):
    """A restart while clients come: none of them is refused, reset or turned away."""
    install(machine, UNIT, SOCKET, configuration=ACTIVATED)
    machine.systemctl("start", SOCKET, UNIT)
    held, coming = crowd(machine, "hold:50"), crowd(machine, "knock:50:8")
    machine.systemctl("restart", UNIT)
    expect("closes", {"1012 service restart": 50}, outcome(held))
    seen = outcome(coming)
    if seen.keys() - {"opened", "503"} or seen.get("opened", 0) < 300:
        raise AssertionError(f"clients that were refused or reset: {seen}")


def has_bad_configuration(machine):
    """A bad configuration is told, and not tried again and again."""
    install(machine, UNIT, configuration="[limits]\nmax_connexions = 5\n")
    machine.systemctl("start", UNIT, due=1)
    expect("state", "failed", machine.show(UNIT, "ActiveState"))
    expect("exit code", "2", machine.show(UNIT, "ExecMainStatus"))
    expect("restarts", "0", machine.show(UNIT, "NRestarts"))
    said = machine.journal(UNIT)
    if "max_connexions" not in said:
        raise AssertionError(f"the journal does not name the key: {said}")


def runs_without_systemd(machine):
    """deploy/plain/run, under any other supervisor: another user, and SIGTERM drains."""
    script = installing.ROOT / "deploy/plain/run"
    machine.write("/srv/run", script.read_text(encoding="utf-8"))
    machine.write("/etc/lastword/lastword.toml", CONFIGURATION)
    machine.run("useradd", "--system", "--home-dir", "/var/lib/lastword", "lastword")
    unit = "plain.service"  # only to have a parent that tells how it ended
    machine.run("systemd-run", f"--unit={unit}", "--remain-after-exit", "sh", "/srv/run")
    machine.run("sh", "-c", "until lastword status --quiet 2>/dev/null; do sleep 0.1; done")
    pid = machine.show(unit, "MainPID")
    expect("user", "lastword", machine.run("ps", "-o", "user=", "-p", pid).strip())
    clients = crowd(machine, "hold:20")
    machine.run("kill", "-TERM", pid)
    expect("closes", {"1012 service restart": 20}, outcome(clients))
    machine.await_property(unit, "SubState", lambda state: state == "exited")
    expect("exit code", "0", machine.show(unit, "ExecMainStatus"))


def errors(machine):
    """What the service logged as an error."""
    return machine.run("journalctl", "--no-pager", f"--unit={UNIT}", "--priority=err", due=None)


SCENARIOS = {
    "starts": starts,
    "hardened": is_hardened,
    "stops": stops,
    "reloaded": is_reloaded,
    "reloaded-by-signal": is_reloaded_by_signal,
    "credentials": has_credentials,
    "killed": is_killed,
    "activated": is_activated,
    "killed-with-socket": is_killed_with_its_socket,
    "hung": is_hung,
    "restarted-with-socket": is_restarted_with_its_socket,
    "misconfigured": has_bad_configuration,
    "without-systemd": runs_without_systemd,
}
