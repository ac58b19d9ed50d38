"""Sizes and lengths of time as people write them."""

import re

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_PIECE = r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)"
_TIME = re.compile(rf"\s*(?:{_PIECE}\s*)+", re.IGNORECASE)
_SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}


def size_in_bytes(text: str) -> int | None:
    """`20GB` -> bytes; GB are thousands of millions, GiB 1024 x 1024 x 1024. None where it is no size."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    number, letter, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(letter.casefold() or " "))


def seconds(text: str) -> float | None:
    """`8h`, `90min`, `1h30m`, `45 s` -> seconds. None where it is no length of time."""
    if _TIME.fullmatch(text) is None:
        return None
    return sum(float(number) * _SECONDS[unit.casefold()] for number, unit in re.findall(_PIECE, text, re.IGNORECASE))


def say_size(n: float) -> str:
    """Bytes as people read them: 1.2 GB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= scale:
            return f"{n / scale:,.1f} {unit}"
    return f"{n / 1e3:,.0f} kB"


def say_time(seconds: float) -> str:
    """Seconds as people read them: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
