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
        folder: On this machine; made when the first part takes off. None notes nothing.
    """

    folder: Path | None

    def left(self) -> set[str]:
        """Names of the rows that a process died with."""
        names: set[str] = set()
        for path in self._files():
            names.update(path.read_text(errors="replace").split("\n"))
        return names - {""}

    def clear(self) -> None:
        """Forget them."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self.folder.glob("flight-*.txt")) if self.folder is not None else []

    @contextmanager
    def aloft(self, names: Sequence[str]) -> Iterator[None]:
        """Note rows for the length of a `with`."""
        if self.folder is None:
            yield
            return
        path = self.folder / f"flight-{fingerprint(list(names))}.txt"
        atomic.replace(path, lambda stream: stream.write("\n".join(names).encode()), sync=False)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
