"""One thing that the doctor looked at."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What was found.

    Args:
        check: What was looked at, in a word or two.
        state: "ok"; "note" where something is missing that not everybody needs; "fault" where it stands in the way.
        says: The fact, and its cause where it is a fault.
        remedy: The exact command, or what to do; "" where there is nothing to do.
    """

    check: str
    state: State
    says: str
    remedy: str = ""
