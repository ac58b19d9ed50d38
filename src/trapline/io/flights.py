"""Which rows are being worked on: what a process that died without a word leaves behind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trapline.io import atomic
from trapline.io.ledger import fingerprint


@dataclass(frozen=True)
class Flights:
    """A file for every part in the works, gone when it ends well or badly; those of a dead process stay.

    Args:
        folder: On this machine; made when the first part takes off.
    """

    folder: Path

    def left(self) -> set[str]:
        """Names of the rows that a process died with."""
        names: set[str] = set()
        for path in self.folder.glob("flight-*.txt"):
            names.update(path.read_text(errors="replace").split("\n"))
        return names - {""}

    def clear(self) -> None:
        """Forget them."""
        for path in self.folder.glob("flight-*.txt"):
            path.unlink(missing_ok=True)

    @contextmanager
    def aloft(self, names: Sequence[str]) -> Iterator[None]:
        """Note rows for the length of a `with`."""
        path = self.folder / f"flight-{fingerprint(list(names))}.txt"
        atomic.replace(path, lambda stream: stream.write("\n".join(names).encode()), sync=False)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
