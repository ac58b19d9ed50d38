"""A prediction as annotations: every box bears its likeliest label. For formats that are written whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trapline.core import schemas
from trapline.core.log import Log
from trapline.formats import camtrap_dp, cct_file, locations_csv

if TYPE_CHECKING:
    from trapline.apps.predict_images.outputs import Scored

DATASET = "images"


@dataclass(frozen=True)
class Package:
    """What Camtrap DP wants to know besides.

    Args:
        locations: CSV of location, latitude, longitude.
        utc_offset: Zone of time stamps, such as "-08:00".
    """

    locations: Path | None = None
    utc_offset: str | None = None


@dataclass
class Annotated:
    """Collects a prediction: of each box its likeliest label alone, some hundred bytes.

    Args:
        labels: Of the scores.
        classifier: Its name.
    """

    labels: Sequence[str]
    classifier: str
    _kept: list[pl.DataFrame] = field(default_factory=list)

    def add(self, piece: "Scored") -> None:
        """Take in some images."""
        best, sure = likeliest(piece.rows["scores"], self.labels)
        self._kept.append(piece.rows.drop("scores").with_columns(label=best, probability=sure))

    def write(self, path: Path, kind: str, package: Package, log: Log) -> None:
        """Write all of them.

        Raises:
            InputError: Camtrap DP lacks places or zones.
        """
        rows = pl.concat(self._kept)
        named = rows.filter(pl.col("label").is_not_null()).with_row_index("n")
        images = rows.unique("file", keep="first", maintain_order=True).select(
            image_id="file",
            dataset=pl.lit(DATASET),
            file_name="file",
            captured_at="captured_at",
            location_id="location_id",
            deployment_id="location_id",
            sequence_id="sequence_id",
            width_px="width_px",
            height_px="height_px",
        )
        whole = pl.all_horizontal(pl.col("box_x", "box_y") == 0, pl.col("box_w", "box_h") == 1)
        boxed = (~whole).fill_null(False)
        box_id = pl.when(boxed).then(pl.format("{}/{}", "file", pl.col("detection").cast(pl.String)))
        boxes = named.filter(boxed).select(
            "box_x", "box_y", "box_w", "box_h", "conf",
            box_id=box_id, image_id="file", unit=pl.lit("fraction"), frame=pl.lit("displayed"),
            source=pl.lit("detector"),
        )  # fmt: skip
        labels = named.select(
            image_id="file",
            box_id=box_id,
            source_label="label",
            conf="probability",
            validated=pl.lit(False),
            validated_by=pl.lit(self.classifier),
            sequence_level=pl.lit(False),
        )
        places = images.drop_nulls("location_id").select("location_id", dataset=pl.lit(DATASET)).unique()
        frames = [
            pl.concat([schema.empty(), frame], how="diagonal")
            for schema, frame in (
                (schemas.IMAGES, images),
                (schemas.LOCATIONS, places.sort("location_id")),
                (schemas.BOXES, boxes),
                (schemas.LABELS, labels),
            )
        ]
        if package.locations is not None:
            told = locations_csv.read(package.locations).with_columns(dataset=pl.lit(DATASET))
            frames[1] = frames[1].update(told.unique("location_id"), on=["dataset", "location_id"], how="left")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        if kind == "camtrap-dp":
            lost = camtrap_dp.write(path, *frames, created=created, utc_offset=package.utc_offset)
        else:
            lost = cct_file.write(path, *frames, created=created)
        for sentence in lost:
            log.warn(f"{path.name} does not hold {sentence}.")


def likeliest(scores: pl.Series, labels: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    """The likeliest label of each row and its probability; null where there are no scores."""
    names = np.array([*labels], dtype=object)
    known = scores.is_not_null().to_numpy()
    best, sure = np.full(len(scores), None, dtype=object), np.full(len(scores), None, dtype=object)
    if known.any():
        values = scores.drop_nulls().to_numpy()
        best[known], sure[known] = names[values.argmax(1)], values.max(1).astype(float)
    return pl.Series("label", best.tolist(), dtype=pl.String), pl.Series("probability", sure.tolist(), dtype=pl.Float64)
