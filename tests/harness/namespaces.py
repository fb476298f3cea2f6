"""Linux namespaces, where they may be made."""

import subprocess


def refusal(namespaces):
    """Why these namespaces cannot be made here, or nothing."""
    tried = subprocess.run(
        ["unshare", *namespaces, "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not permitted here: {tried.stderr.strip()}" if tried.returncode else None
