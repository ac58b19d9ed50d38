"""likeness: what new boxes are compared with: features of training crops by the classifier itself, and a threshold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from trapline.core.likeness import threshold
from trapline.core.log import Log
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Work, map_rows
from trapline.io import places
from trapline.io.images import ImageFailure
from trapline.io.ledger import Parts
from trapline.io.places import Place, Source
from trapline.learn.deployed import Deployed
from trapline.learn.infer import infer_many
from trapline.learn.neighbours import Neighbours
from trapline.learn.rows import as_arrays, with_file_state
from trapline.learn.transforms import load_for_evaluation

VERSION = 1
PART_ROWS = 512
MOST_TRAIN = 10_000  # crops, evenly picked
MOST_VAL = 4_000


@dataclass(frozen=True)
class Likeness:
    """What new boxes are compared with.

    Args:
        features: Of n training crops, float32 [n, width].
        threshold: The distance beyond which a box is unlike them.
    """

    features: np.ndarray
    threshold: float


def likeness(
    train: pl.Series,
    val: pl.Series,
    model: Callable[[], Deployed],
    *,
    crops_dir: Path | Place,
    made_with: Mapping[str, object],
    batch_size: int,
    parts: Parts,
    log: Log,
) -> Likeness | None:
    """Features of training crops, and how far val crops are from them; what was computed before is not again.

    Args:
        train, val: Ids of crops in `crops_dir` (a folder or another place); of many, some are picked evenly.
        made_with: What decides the features: the checkpoint, the arithmetic.

    Returns:
        None where there are too few crops of either.
    """
    picked = {"train": _some(train, MOST_TRAIN), "val": _some(val, MOST_VAL)}
    crops = pl.concat([ids.alias("crop_id") for ids in picked.values()]).unique(maintain_order=True)

    table = map_rows(
        partial(_Features, model, places.of(crops_dir), batch_size),
        with_file_state(crops.to_frame(), crops_dir),
        engine=LOCAL,
        key="crop_id",
        config={"version": VERSION, **made_with},
        parts=parts,
        part_rows=PART_ROWS,
        log=log,
        what="training crops looked at, to compare new ones with",
    ).drop_nulls("features")
    known = {
        name: table.filter(pl.col("crop_id").is_in(ids.implode()))["features"].to_numpy()
        for name, ids in picked.items()
    }
    if not len(known["train"]) or not len(known["val"]):
        return None
    near = Neighbours(known["train"], torch.device("cpu"))
    distances = np.concatenate([
        near(torch.from_numpy(np.array(known["val"][start : start + 512]))).numpy()[:, 0]
        for start in range(0, len(known["val"]), 512)
    ])  # fmt: skip
    least = threshold(distances)
    return None if least is None else Likeness(known["train"], least)


class _Features(Work):
    def __init__(self, model: Callable[[], Deployed], crops: Place, batch_size: int):
        self._model, self._crops, self._batch_size = model, crops, batch_size

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return pl.DataFrame(schema={"crop_id": pl.String, "features": pl.Array(pl.Float32, 1)})
        deployed, batch_size = self._model(), self._batch_size

        def load(path: Source) -> Sequence[np.ndarray | str]:
            try:
                return (load_for_evaluation(path, deployed.transform),)
            except ImageFailure as failure:
                return (str(failure),)

        paths = [self._crops.source(crop_id) for crop_id in rows["crop_id"]]
        groups = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
        found = []
        for _, loaded, values in infer_many(
            deployed.features,
            groups,
            load,
            batch_size=batch_size,
            device=deployed.device,
            threads=places.threads_for(paths),
        ):
            width = values.shape[1] if values is not None else deployed.width
            rest = iter(values if values is not None else ())
            found += [np.full(width, np.nan, np.float32) if isinstance(crop, str) else next(rest) for (crop,) in loaded]
        return pl.DataFrame({"crop_id": rows["crop_id"], "features": as_arrays(np.stack(found), len(found[0]))})

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        return rows.select("crop_id", features=pl.lit(None, pl.Array(pl.Float32, self._model().width)))


def _some(ids: pl.Series, most: int) -> pl.Series:
    """At most so many, evenly picked."""
    ordered = ids.sort()
    if len(ordered) <= most:
        return ordered
    return ordered.gather(np.linspace(0, len(ordered) - 1, most).round().astype(np.int64))
