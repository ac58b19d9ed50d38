"""A time budget: stop before the notebook does."""

import time

from trapline.core.errors import TraplineError
from trapline.core.quantities import say_time

MARGIN = 1.5  # what comes next may take this many times what it took before
SPARE_S = 5.0  # for ending the program


class TimeIsUp(TraplineError):
    """The time budget is used up; the training is kept and can be gone on with."""


class Clock:
    """Knows what is left of a budget.

    Args:
        budget_s: Seconds; None for no limit.
        begin: time.monotonic() when it began to count; default now.
    """

    def __init__(self, budget_s: float | None, begin: float | None = None):
        self.begin = time.monotonic() if begin is None else begin
        self.budget_s = budget_s

    @property
    def limited(self) -> bool:
        """Whether there is a budget at all."""
        return self.budget_s is not None

    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.begin

    def allows(self, seconds: float) -> bool:
        """Whether something that took `seconds` before can be done within the budget."""
        return self.budget_s is None or self.spent() + MARGIN * seconds + SPARE_S <= self.budget_s

    def time_is_up(self, at: str, left_s: float | None) -> TimeIsUp:
        """The error that ends the training cleanly.

        Args:
            at: Where it stands.
            left_s: Seconds that all the rest would take, if that can be said.
        """
        left = f" (about {say_time(left_s)} are left)" if left_s is not None else ""
        return TimeIsUp(
            f"stopped after {say_time(self.spent())}, within --time-budget {say_time(self.budget_s or 0)}, at {at}. "
            f"Everything is kept: the same command goes on from there{left}."
        )
