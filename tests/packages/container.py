"""The root directory of the container image, and the program in it, without an engine."""

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import harness.installing as installing
import harness.namespaces as namespaces
from harness.player import Player

HERE = Path(__file__).resolve().parent
DEPLOY = installing.ROOT / "deploy/container"
NAMESPACES = ["--mount", "--pid", "--net", "--ipc", "--uts"]
USER = 65532
LIMIT = 30 << 20
# What a debug build may not add to: everything but the program.
LIMIT_BESIDE = 8 << 20


class Image:
    """The assembled image in a directory; use it with `with`."""

    def __init__(self, program):
        self.directory = tempfile.TemporaryDirectory(prefix="lastword-image-")
        self.root = Path(self.directory.name) / "root"
        installing.run(DEPLOY / "assemble", program, self.root)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def files(self):
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.stat().st_size for path in found}


class Container:
    """The image's entry point, as PID 1 of namespaces of its own; use it with `with`."""

    def __init__(self, image, state, *words):
        os.chown(state, USER, USER)
        self.log = tempfile.TemporaryFile(mode="w+")
        self.unshare = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--propagation", "private"]
            + ["python3", HERE / "enter.py", image.root, state, *words],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.pid = None

    def __enter__(self):
        deadline = time.monotonic() + 20
        while self.health() != 0:
            if time.monotonic() > deadline or self.unshare.poll() is not None:
                said = self.said()
                self.__exit__()
                raise AssertionError(f"it did not become healthy: {said}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        if self.unshare.poll() is None:
            self.unshare.kill()
        self.unshare.wait()
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read()[-1500:].strip()

    def health(self):
        """The exit code of the HEALTHCHECK of the Containerfile, run as an engine would."""
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        pid = children.read_text(encoding="ascii").strip() if children.exists() else ""
        if not pid or Path(f"/proc/{pid}/comm").read_text(encoding="ascii") != "lastword\n":
            return None
        self.pid = int(pid)
        check = ["--root", "--wdns=/", f"--setuid={USER}", f"--setgid={USER}", "--", *healthcheck()]
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net"]
        return subprocess.run([*enter, *check], capture_output=True, check=False).returncode

    def beside(self, *words):
        """The command that runs `words` with the container's network."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *map(str, words)]


def orphans(container):
    """What is left of a process whose parent ended first, and which PID 1 has to reap."""
    enter = ["nsenter", f"--target={container.pid}", "--pid", "--", "sh", "-c"]
    subprocess.run([*enter, "sleep 0.3 &"], stdin=subprocess.DEVNULL, check=True)
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    deadline = time.monotonic() + 5
    while left := children.read_text(encoding="ascii").split():
        if time.monotonic() > deadline:
            return [f"orphans are left: {left}"]
        time.sleep(0.05)
    return []


def instruction(name):
    """The words of an instruction of the Containerfile in its last form."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    line = re.findall(rf"^{name} .*$", text, re.MULTILINE)[-1]
    return re.findall(r'"([^"]*)"', line) or line.split()[1:]


def healthcheck():
    return instruction("HEALTHCHECK")


def check_files(image, judge_size):
    """What is wrong with the files of the image."""
    files, faults = image.files(), []
    shells = [file for file in files if re.search(r"(^|/)(ba|da|a|z)?sh$|busybox", file)]
    if shells:
        faults.append(f"a shell: {shells}")
    programs = [f for f in files if os.access(image.root / f, os.X_OK) and ".so" not in f]
    if programs != ["lastword"]:
        faults.append(f"programs beside lastword: {programs}")
    whole, beside = sum(files.values()), sum(files.values()) - files["lastword"]
    if beside > LIMIT_BESIDE or (judge_size and whole > LIMIT):
        faults.append(f"{whole} bytes, of which {beside} are not lastword's")
    return faults, f"{whole / (1 << 20):.1f} MiB"


def check_running(image, crowd):
    """What is wrong with the program in it."""
    words = instruction("ENTRYPOINT") + instruction("CMD")
    with tempfile.TemporaryDirectory(prefix="lastword-state-") as state:
        with Container(image, state, *words) as container:
            faults = judged(container) + orphans(container)
            player = Player(container.beside(*crowd), "ws://127.0.0.1:8080/echo", "hold:20")
            if not player.await_connected():
                return faults + player.faults()
            os.kill(container.pid, 15)
            code = container.unshare.wait(30)
            closes, wrong = player.outcome()
            faults += wrong
            if closes != {"1012 service restart": 20}:
                faults.append(f"20 Closes 1012 are due, got {closes}")
            if code != 0:
                faults.append(f"exit code 0 is due after SIGTERM, got {code}: {container.said()}")
        if not (Path(state) / "ledger.db").exists():
            faults.append("there is no ledger in the volume")
    return faults


def judged(container):
    """What is wrong with the process."""
    proc, faults = Path(f"/proc/{container.pid}"), []
    status = dict(
        line.split(":\t", 1) for line in (proc / "status").read_text(encoding="ascii").splitlines()
    )
    for key, due in (
        ("NSpid", f"{container.pid}\t1"),
        ("Uid", "\t".join([str(USER)] * 4)),
        ("Gid", "\t".join([str(USER)] * 4)),
        ("CapEff", "0" * 16),
    ):
        if status[key] != due:
            faults.append(f"{key} is {status[key]!r}, {due!r} is due")
    mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    root = next((line.split() for line in mounts if line.split()[4] == "/"), None)
    if root is None or "ro" not in root[5].split(","):
        faults.append(f"its root is not read-only: {root}")
    return faults


def refusal():
    """Why no container can be run here, or nothing."""
    if os.geteuid() != 0:
        return "namespaces of its own need root"
    return namespaces.refusal(NAMESPACES)
