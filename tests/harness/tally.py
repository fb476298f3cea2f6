"""Counts checks and says how each went; nothing is skipped silently."""

import sys


class Tally:
    def __init__(self, name):
        self.name, self.counts = name, {"passed": 0, "failed": 0, "skipped": 0}

    def passed(self, check):
        self._count("passed", "ok  ", check)

    def failed(self, check, why):
        self._count("failed", "FAIL", f"{check}: {why}")

    def skipped(self, check, why):
        self._count("skipped", "SKIP", f"{check}: {why}")

    def judge(self, check, faults):
        """Passes the check if the list of faults is empty."""
        if faults:
            self.failed(check, "; ".join(faults))
        else:
            self.passed(check)

    def finish(self):
        """Prints the line that the gate adds up, and exits."""
        print(f"{self.name}: " + ", ".join(f"{n} {word}" for word, n in self.counts.items()))
        sys.exit(1 if self.counts["failed"] else 0)

    def _count(self, word, mark, line):
        self.counts[word] += 1
        print(f"{mark} {line}", flush=True)
