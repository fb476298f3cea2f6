"""A real systemd as PID 1 of namespaces of its own, without network."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import harness.namespaces as namespaces

HERE = Path(__file__).resolve().parent
NAMESPACES = ["--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid"]
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}


class Refused(Exception):
    """No such machine can be booted here; the text says why."""


class Machine:
    """A booted machine; use it with `with`.

    `mounts` are files of this host by the path that they have in the machine.
    """

    READY_WITHIN = 30

    def __init__(self, mounts=(), root="/"):
        mounts = [f"{source}:{target}" for target, source in dict(mounts).items()]
        self.cgroup = make_cgroup()
        self.directory = tempfile.mkdtemp(prefix="lastword-machine-")
        began = time.monotonic()
        try:
            self.unshare = subprocess.Popen(
                ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', self.cgroup, "unshare"]
                + [*NAMESPACES, "--fork", "--kill-child", "--propagation", "private"]
                + [HERE / "boot", root, self.directory, *mounts],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.pid = self._await(self._first_process, "PID 1")
            self._await(self._booted, "the end of the boot")
        except BaseException:
            self.__exit__()
            raise
        self.took = time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.unshare.poll() is None:
            self.unshare.kill()  # and PID 1 with it, and all that PID 1 holds
        self.unshare.communicate()
        os.rmdir(self.directory)
        remove_cgroup(self.cgroup)

    def command(self, *words):
        """The command that runs `words` in the machine."""
        return ["nsenter", "--target", str(self.pid), "--all", "--", *map(str, words)]

    def beside(self, *words):
        """The command that runs `words` with the machine's network and the files of this host."""
        return ["nsenter", "--target", str(self.pid), "--net", "--", *map(str, words)]

    def run(self, *words, within=60, due=0, stdin=None):
        """Runs a command in the machine and returns what it said; `due` is its exit code, or None."""
        done = subprocess.run(
            self.command(*words),
            env=ENVIRONMENT,
            input=stdin or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within,
        )
        if due is not None and done.returncode != due:
            said = done.stdout.strip()[-2000:]
            raise AssertionError(f"`{' '.join(map(str, words))}`: exit code {done.returncode}: {said}")
        return done.stdout

    def systemctl(self, *words, **options):
        return self.run("systemctl", "--no-pager", *words, **options)

    def show(self, unit, *names):
        """Properties of a unit, as text; one of them alone, or a dictionary."""
        lines = self.systemctl("show", unit, *(f"--property={name}" for name in names)).splitlines()
        found = dict(line.split("=", 1) for line in lines)
        return found.get(names[0], "") if len(names) == 1 else found

    def await_property(self, unit, name, fits, within=30):
        """Waits until a property of the unit is as it should be, and returns it."""
        deadline = time.monotonic() + within
        while not fits(value := self.show(unit, name)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} of {unit} is {value!r}; {self.journal(unit)}")
            time.sleep(0.1)
        return value

    def write(self, path, text):
        """Writes a file of the machine, and its directories."""
        script = 'mkdir -p "$(dirname "$0")" && cat > "$0"'
        self.run("sh", "-c", script, path, stdin=text)

    def journal(self, unit, lines=20):
        return self.run("journalctl", "--no-pager", f"--unit={unit}", f"--lines={lines}", due=None)

    def _first_process(self):
        pid = self.unshare.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return int(children[0]) if children else None

    def _booted(self):
        # Until it has made its root, PID 1 is still the script.
        try:
            name = Path(f"/proc/{self.pid}/comm").read_text(encoding="ascii")
        except OSError:
            return False
        if "systemd" not in name:
            return False
        return self.run("systemctl", "is-active", "machine.target", due=None) == "active\n"

    def _await(self, look, what):
        deadline = time.monotonic() + self.READY_WITHIN
        while not (found := look()):
            if self.unshare.poll() is not None:
                raise Refused(f"it ended before {what}: {self.unshare.stdout.read()[-1000:].strip()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"awaited {what} for {self.READY_WITHIN} s in vain")
            time.sleep(0.02)
        return found


def refusal():
    """Why no machine can be booted here, or nothing."""
    if os.geteuid() != 0:
        return "a systemd in namespaces of its own needs root"
    for program in ("unshare", "nsenter", "pivot_root"):
        if not shutil.which(program):
            return f"{program} is missing: install the package util-linux"
    why = namespaces.refusal(NAMESPACES)
    if why:
        return why
    try:
        remove_cgroup(make_cgroup())
    except (OSError, Refused) as why:
        return f"no cgroup can be made for it: {why}"
    try:
        with Machine():
            return None
    except Refused as why:
        return f"no machine can be booted here: {why}"


def make_cgroup():
    """Makes a cgroup (version 2) below our own."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        mounted = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
    with open("/proc/self/cgroup", encoding="ascii") as cgroups:
        own = next((line.strip()[3:] for line in cgroups if line.startswith("0::")), None)
    if not mounted or own is None:
        raise Refused("the hierarchy of cgroup version 2 is not mounted")
    return tempfile.mkdtemp(prefix="lastword-machine-", dir=f"{mounted[0]}{own}")


def remove_cgroup(cgroup):
    """Removes a cgroup and those in it, once their processes are gone."""
    deadline = time.monotonic() + 5
    while True:
        try:
            for path, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(path)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
