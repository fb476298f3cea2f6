"""The life of the Debian package: installed, upgraded, removed, purged."""

import shutil

import harness.installing as installing
from service import CONFIGURATION, UNIT, crowd, errors, expect, outcome, prepare_clients

OUTPUT = installing.TARGET / "systemd-tests"
FILES = ["find", "/etc", "/usr", "/var", "/run", "-xdev", "-name", "*lastword*"]
OLD, NEW = "/srv/old.deb", "/srv/new.deb"


def prepare(program):
    """Builds the package of this program twice, as two versions."""
    prepare_clients()
    installing.program("dh", ["debhelper"])
    installing.program("dpkg-buildpackage", ["dpkg-dev"])
    shutil.rmtree(OUTPUT, ignore_errors=True)
    mounts = {}
    for target, version in ((OLD, "0.0.1"), (NEW, "0.0.2")):
        output = OUTPUT / version
        build = [installing.ROOT / "deploy/debian/build", "--draft", "--program", program]
        installing.run(*build, "--version", version, "--output", output)
        mounts[target] = next(output.glob("*.deb"))
    return mounts


def is_installed(machine):
    """After the installation nothing runs; `systemctl enable --now` starts the service."""
    machine.run("dpkg", "--install", OLD)
    expect("state", "inactive", machine.show(UNIT, "ActiveState"))
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
    """An upgrade restarts the service, each of 1,000 clients gets a Close, and settings stay."""
    start(machine)
    clients = crowd(machine, "hold:1000")
    before = machine.show(UNIT, "MainPID")
    machine.run("dpkg", "--install", NEW, within=120)
    expect("closes", {"1012 service restart": 1000}, outcome(clients))
    expect("state", "running", machine.show(UNIT, "SubState"))
    if machine.show(UNIT, "MainPID") == before:
        raise AssertionError("the service was not restarted")
    expect("settings", CONFIGURATION, machine.run("cat", "/etc/lastword/lastword.toml"))
    expect("clients", {"opened": 20}, outcome(crowd(machine, "knock:20:1")))


def is_upgraded_while_stopped(machine):
    """An upgrade starts nothing that did not run."""
    machine.run("dpkg", "--install", OLD)
    machine.run("dpkg", "--install", NEW)
    expect("state", "inactive", machine.show(UNIT, "ActiveState"))


def is_removed(machine):
    """Removed: the service is drained, the state stays. Purged: nothing stays."""
    before = machine.run(*FILES)
    start(machine)
    machine.systemctl("enable", UNIT)
    clients = crowd(machine, "hold:20")
    machine.run("dpkg", "--remove", "lastword")
    expect("closes", {"1012 service restart": 20}, outcome(clients))
    machine.run("test", "-s", "/var/lib/lastword/ledger.db")
    machine.run("test", "-s", "/etc/lastword/lastword.toml")
    expect("program", "", machine.run("sh", "-c", "command -v lastword", due=127))

    machine.run("dpkg", "--purge", "lastword")
    expect("files", before, machine.run(*FILES))


def start(machine):
    """Installs the old version, with our settings, and starts it."""
    machine.run("dpkg", "--install", OLD)
    machine.write("/etc/lastword/lastword.toml", CONFIGURATION)
    machine.systemctl("start", UNIT)


SCENARIOS = {
    "installed": is_installed,
    "upgraded": is_upgraded,
    "upgraded-while-stopped": is_upgraded_while_stopped,
    "removed": is_removed,
}
