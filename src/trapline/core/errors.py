"""Everything that can go wrong and is not a bug. Each error says what, how many, which first, and what to do."""

from collections.abc import Sequence


class TraplineError(Exception):
    """A failure the user can act on; printed without a traceback.

    `exit_code` is what the command line returns: 1 failed, 2 usage or config, 3 too many images failed.
    """

    exit_code = 1


class InputError(TraplineError):
    """Bad input or configuration. Lists every problem that was found, not only the first."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[str] = ()):
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in self.problems)]))


class TooManyFailures(TraplineError):
    """The work is done, but more images failed than `max_failures` allows."""

    exit_code = 3


class LockHeld(TraplineError):
    """Another trapline process is at work in this project."""


class RunIsStale(TraplineError):
    """A training run no longer matches its inputs; training again costs time and waits for `--retrain`."""


class StoreRefused(InputError):
    """An object store does not take what it is asked with: credentials, region, bucket. Nothing would come of more."""


class StoreDown(TraplineError):
    """An object store cannot be reached, or has answered nothing for as long as one may wait."""
