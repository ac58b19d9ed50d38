"""FiftyOneImageDetectionDataset: crops and what is known of each, for those who look at pictures in FiftyOne.

data.json says where each picture lies, labels.json what it shows: a box around the whole crop per label, since boxes
are what FiftyOne's importer reads attributes of. The pictures stay where they are; their paths are absolute.

Source: https://docs.voxel51.com/user_guide/import_datasets.html (FiftyOneImageDetectionDataset).
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import polars as pl

from trapline.io import atomic

DATA, LABELS = "data.json", "labels.json"
WHOLE = (0.0, 0.0, 1.0, 1.0)


def write(folder: Path, crops: pl.DataFrame) -> None:
    """Write data.json and labels.json into `folder`.

    Args:
        crops: One row per crop: `path` (absolute) and `labels` (a list); every further column becomes an attribute of
            that name, except where it is null.
    """
    # A key with a dot could lose what follows, taken for a file name's ending.
    keys = [f"crop{number:07d}" for number in range(crops.height)]
    rows = crops.drop("path").iter_rows(named=True)
    # Without "classes": with them FiftyOne takes labels for numbers into that list.
    _save(folder / LABELS, {"labels": {key: _detections(row) for key, row in zip(keys, rows, strict=True)}})
    _save(folder / DATA, dict(zip(keys, crops["path"], strict=True)))


def _detections(row: Mapping[str, object]) -> list[dict[str, object]]:
    labels = row["labels"]
    assert isinstance(labels, list)
    attributes = {name: value for name, value in row.items() if name != "labels" and value is not None}
    return [{"label": label, "bounding_box": WHOLE, "attributes": attributes} for label in labels]


def _save(path: Path, content: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(content), indent=1)
    atomic.replace(path, lambda stream: stream.write(text))
