"""The life of the Debian package: installed, upgraded, removed, purged."""

import shutil
import tempfile

import harness.installing as installing
from service import (
    ACTIVATED,
    SOCKET,
    UNIT,
    crowd,
    errors,
    expect,
    fetch,
    outcome,
    prepare_clients,
)

OUTPUT = installing.TARGET / "systemd-tests"
FILES = ["find", "/etc", "/usr", "/var", "/run", "-xdev", "-name", "*lastword*"]
OLD, NEW = "/srv/old.deb", "/srv/new.deb"


def prepare(program):
    """Builds the package of this program, and makes a newer version of it."""
    prepare_clients()
    installing.program("dh", ["debhelper"])
    installing.program("dpkg-buildpackage", ["dpkg-dev"])
    shutil.rmtree(OUTPUT, ignore_errors=True)
    build = [installing.ROOT / "deploy/debian/build", "--draft", "--program", program]
    installing.run(*build, "--version", "0.0.1", "--output", OUTPUT)
    old, tree, new = next(OUTPUT.glob("*.deb")), OUTPUT / "tree", OUTPUT / "new.deb"
    installing.run("dpkg-deb", "--raw-extract", old, tree)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text(encoding="utf-8").replace("0.0.1-1", "0.0.2-1"))
    installing.run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, new)
    shutil.rmtree(tree)
    return {OLD: old, NEW: new}


def is_installed(machine):
    """After it is installed, or upgraded, nothing runs; `systemctl enable --now` starts the service."""
    for package in (OLD, NEW):
        machine.run("dpkg", "--install", package)
        for unit in (UNIT, SOCKET):
            expect(f"state of {unit}", "inactive", machine.show(unit, "ActiveState"))
    expect("enabled", "disabled\n", machine.systemctl("is-enabled", UNIT, due=1))
    machine.run("lastword", "check")
    for page in ("lastword.1", "lastword-why.1", "lastword.toml.5"):
        machine.run("test", "-s", f"/usr/share/man/man{page[-1]}/{page}.gz")
    machine.systemctl("enable", "--now", UNIT)
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))
    pid = machine.show(UNIT, "MainPID")
    expect("user", "lastword", machine.run("ps", "-o", "user=", "-p", pid).strip())
    expect("owner", "lastword\n", machine.run("stat", "-c", "%U", "/var/lib/lastword/ledger.db"))
    expect("lines of an error", "-- No entries --\n", errors(machine))


def is_upgraded(machine):
    """An upgrade with the socket unit: each of 1,000 clients gets a Close, and none that comes is refused."""
    start(machine, ACTIVATED)
    clients, coming = crowd(machine, "hold:1000"), crowd(machine, "knock:20:12")
    before = machine.show(UNIT, "MainPID"), machine.show(SOCKET, "ActiveEnterTimestampMonotonic")
    machine.run("dpkg", "--install", NEW, within=120)
    expect("closes", {"1012 service restart": 1000}, outcome(clients))
    seen = outcome(coming)
    if seen.keys() - {"opened", "503"}:
        raise AssertionError(f"clients that were refused or reset: {seen}")
    expect("state", "running", machine.show(UNIT, "SubState"))
    if machine.show(UNIT, "MainPID") == before[0]:
        raise AssertionError("the service was not restarted")
    expect("socket", before[1], machine.show(SOCKET, "ActiveEnterTimestampMonotonic"))
    expect("settings", ACTIVATED, machine.run("cat", "/etc/lastword/lastword.toml"))
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))


def is_removed(machine):
    """Removed: the service is drained, the state stays. Purged: nothing stays."""
    before = machine.run(*FILES)
    start(machine, ACTIVATED)
    machine.systemctl("enable", UNIT, SOCKET)
    clients = crowd(machine, "hold:20")
    machine.run("dpkg", "--remove", "lastword")
    expect("closes", {"1012 service restart": 20}, outcome(clients))
    for unit in (UNIT, SOCKET):
        expect(f"state of {unit}", "inactive", machine.show(unit, "ActiveState"))
    machine.run("test", "-s", "/var/lib/lastword/ledger.db")
    machine.run("test", "-s", "/etc/lastword/lastword.toml")
    expect("program", "", machine.run("sh", "-c", "command -v lastword", due=127))

    machine.run("dpkg", "--purge", "lastword")
    expect("files", before, machine.run(*FILES))


def is_followed(machine):
    """The guide's page about production, followed: TLS, tokens, the socket on port 443, probes."""
    page = (installing.ROOT / "src/guide/production.md").read_text(encoding="utf-8")
    machine.run("dpkg", "--install", OLD)
    # What the page takes for granted: a certificate, and an application.
    certify = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a -addext subjectAltName=IP:127.0.0.1"
    machine.run("sh", "-c", f"{certify} -keyout /root/key.pem -out /root/fullchain.pem")
    echo = ["serve", "--set", 'listeners[0].listen="127.0.0.1:3000"', "--set", 'control.listen=""']
    transient = ["systemd-run", "--property=Type=notify", "--property=DynamicUser=yes", "lastword"]
    machine.run(*transient, *echo, "--set", 'ledger.path=""')

    configuration = page.split("```toml\n", 1)[1].split("```", 1)[0]
    configuration = configuration.replace("0.0.0.0:8443", "systemd:public")
    machine.write("/etc/lastword/lastword.toml", configuration)
    for line in page.split("## Check, and start")[0].splitlines():
        if line.startswith(("# install ", "# echo ")):
            machine.run("sh", "-c", f"cd /root && {line.removeprefix('# ')}")
    change = page.split("# systemctl edit lastword\n", 1)[1].split("```", 1)[0]
    machine.write(f"/etc/systemd/system/{UNIT}.d/override.conf", change)
    address = "[Socket]\nListenStream=\nListenStream=443\n"
    machine.write(f"/etc/systemd/system/{SOCKET}.d/override.conf", address)
    machine.systemctl("daemon-reload")
    machine.run("lastword", "check")
    machine.systemctl("enable", "--now", SOCKET)
    machine.systemctl("enable", "--now", UNIT)

    token = ["--token-file", "/etc/lastword/tokens"]
    machine.run("lastword", "status", "--quiet", *token)
    machine.run("lastword", "status", "--quiet", due=1)
    machine.systemctl("reload", UNIT)
    with tempfile.NamedTemporaryFile(suffix=".pem", mode="w") as certificate:
        certificate.write(machine.run("cat", "/root/fullchain.pem"))
        certificate.flush()
        trusting = ["env", f"SSL_CERT_FILE={certificate.name}"]
        clients = crowd(machine, "knock:20:1", "wss://127.0.0.1/echo", trusting)
        expect("clients", {"opened": 20}, outcome(clients))
    for target, due in (("readyz", "ready"), ("metrics", "lastword_endings_total")):
        said, _ = fetch(machine, f"http://127.0.0.1:9090/{target}")
        if due not in said:
            raise AssertionError(f"/{target} does not say {due}: {said[:300]}")
    ended = machine.run("lastword", "endings", "--route", "application", "--kind", "clean", *token)
    # Both legs of each client.
    expect("endings", 40, sum("clean" in line for line in ended.splitlines()))
    expect("lines of an error", "-- No entries --\n", errors(machine))


def start(machine, configuration):
    """Installs the old version, with our settings, and starts it with its socket."""
    machine.run("dpkg", "--install", OLD)
    machine.write("/etc/lastword/lastword.toml", configuration)
    machine.systemctl("start", SOCKET, UNIT)


SCENARIOS = {
    "installed": is_installed,
    "upgraded": is_upgraded,
    "removed": is_removed,
    "guide": is_followed,
}
