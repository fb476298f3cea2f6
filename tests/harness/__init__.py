"""What the checks from outside share: the daemon as a process, a tally, and what they install."""
