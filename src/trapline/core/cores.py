"""How many cores this process may use."""

import os

_limit: list[int] = []


def usable_cores() -> int:
    """The cores that this process may use, which on shared machines are fewer than there are."""
    if _limit:
        return _limit[0]
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit(n: int) -> None:
    """Use `n` cores from here on, in a process that shares its machine with others of a cluster."""
    _limit[:] = [n]
