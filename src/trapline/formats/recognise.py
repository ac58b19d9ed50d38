"""Which reader takes an annotation file."""

from pathlib import Path

from trapline.formats import cct, classification_csv
from trapline.formats.annotations import Annotations


def read(path: Path, dataset: str) -> Annotations:
    """Read an annotation file of any format.

    Args:
        dataset: Whose images are wanted, where the file lists several datasets (classification_ds.csv).

    Raises:
        InputError: It is missing or cannot be used; names the file and the place in it.
    """
    if path.suffix.casefold() == ".csv":
        return classification_csv.read(path, dataset)
    return cct.read(path)
