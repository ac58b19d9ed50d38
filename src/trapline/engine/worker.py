"""What a process of a cluster does: makes a stage's work once, and does pieces of it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from trapline.core import cores
from trapline.core.errors import InputError
from trapline.engine.apart import portable
from trapline.engine.mapping import Outcome, Parcel, Work, attempt


@dataclass(frozen=True)
class Terms:
    """What a process must find where it is, and what it may use.

    Args:
        cores: That this process may use.
        marker: A file or folder that every machine must see; None where that does not matter.
        trapline: The version that asks.
    """

    cores: float
    marker: Path | None
    trapline: str = field(default_factory=lambda: version("trapline"))

    def settle(self) -> None:
        """Check them, and keep to the cores.

        Raises:
            InputError: Another trapline is installed here, or the project's folder is not here.
        """
        if self.trapline != (own := version("trapline")):
            raise InputError(
                f"{socket.gethostname()} has trapline {own}, and {self.trapline} asks for its help: install the same."
            )
        if self.marker is not None and not self.marker.exists():
            raise InputError(
                f"{socket.gethostname()} does not see {self.marker}: what a cluster works on lies in a folder that "
                "every machine mounts at the same path, or in a store."
            )
        cores.limit(max(1, int(self.cores)))


@dataclass(frozen=True)
class Order:
    """What a process needs to know beside rows.

    Args:
        make: Makes the work.
    """

    make: Callable[[], Work]
    terms: Terms

    def begin(self) -> Work:
        """Make the work in this process.

        Raises:
            InputError: As Terms.settle.
        """
        self.terms.settle()
        return self.make()


_begun: dict[str, Work] = {}  # of the order that this process works on


def do(order: Callable[[], Order], name: str, rows: Parcel) -> Outcome:
    """Do a piece; `order` is asked for, and its work made, once per `name`."""
    try:
        if name not in _begun:
            _begun.clear()
            _begun[name] = order().begin()
    except Exception as error:  # travels as what it is
        return portable(Outcome(None, error))
    return portable(attempt(_begun[name], rows.rows()))
