"""Becomes the entry point of an image, as its engine would start it.

    enter.py IMAGE STATE WORD...

It runs in namespaces of its own, of which it is PID 1: the image is its root, read-only, STATE the
volume of its state, and it is the image's user, without capabilities.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

USER = 65532
IFF_UP, SIOCSIFFLAGS = 1, 0x8914


def main(image, state, *words):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    for mount in (
        ["--bind", image, image],
        ["-o", "remount,bind,ro", image],
        ["-t", "proc", "proc", f"{image}/proc"],
        ["--bind", state, f"{image}/var/lib/lastword"],
    ):
        subprocess.run(["mount", *mount], check=True)
    os.chroot(image)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.execve(words[0], words, {"STATE_DIRECTORY": "/var/lib/lastword"})


main(*sys.argv[1:])
