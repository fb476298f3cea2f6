"""Installs what the checks need under target/, once per version of what they ask for."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"


class Missing(Exception):
    """Something is not here and cannot be installed; the text says what, and the remedy."""


def run(*command, **options):
    """Runs a command and shows what it said only if it fails."""
    command = [str(word) for word in command]
    options = {"stdin": subprocess.DEVNULL, "timeout": 600} | options
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode:
        raise Missing(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}")


def program(name, packages):
    """The path of a program, which Debian's packages bring if it is missing."""
    found = shutil.which(name)
    if not found:
        apt_install(name, packages)
        found = shutil.which(name)
    if not found:
        raise Missing(f"{name} is still not on the PATH after installing {' '.join(packages)}")
    return found


def apt_install(what, packages):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"{what} is missing: install the package {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    print(f"installing {' '.join(packages)}", flush=True)
    run("apt-get", "update", "-q", env=environment)
    run("apt-get", "install", "-qy", "--no-install-recommends", *packages, env=environment)


def python_venv(directory, requirements):
    """Makes a virtual environment of this Python with the pinned packages."""

    def install():
        try:
            run(sys.executable, "-m", "venv", directory)
        except Missing:
            shutil.rmtree(directory, ignore_errors=True)
            apt_install("Python's venv", ["python3-venv"])
            run(sys.executable, "-m", "venv", directory)
        run(directory / "bin/pip", "install", "-q", "-r", requirements)

    once(directory, [requirements], install)
    return directory / "bin/python"


def node_modules(directory, source):
    """Installs the locked packages beside copies of the scripts that import them."""
    npm = program("npm", ["nodejs", "npm"])
    files = [source / "package.json", source / "package-lock.json"]

    def install():
        for file in files:
            shutil.copy(file, directory)
        run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=directory)

    once(directory, files, install)
    for script in source.glob("*.mjs"):
        shutil.copy(script, directory)
    return directory


def once(directory, files, install):
    """Calls `install` into an empty directory unless it was done for these very files."""
    wanted = hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in files)).hexdigest()
    stamp = directory / "installed-for"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    install()
    stamp.write_text(wanted)
