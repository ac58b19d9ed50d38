"""Annotations -> boxes and labels: what is an object, what labels the whole image, and under which id."""

from collections import Counter

import polars as pl

from trapline.core import schemas
from trapline.core.box_columns import SIDES
from trapline.core.config import IngestConfig
from trapline.core.keys import all_differ
from trapline.core.log import Log

_PLACE = ("image_id", *SIDES, "unit")
_LABEL_COLUMNS = list(schemas.LABELS.columns)


def boxes_and_labels(objects: pl.DataFrame, cfg: IngestConfig, log: Log) -> tuple[pl.DataFrame, pl.DataFrame]:
    """BOXES and LABELS rows. Each annotation is accounted for once, under the first reason that fits.

    Boxes of `cfg.empty_labels` are not objects: such an image gets a label for the whole image and no box.

    Args:
        objects: From `merging.merge`.
    """
    frame = objects.with_columns(
        left_out=pl.coalesce(
            "left_out",
            "problem",
            pl.when(pl.col("source_label").str.strip_chars() == "").then(pl.lit("with a blank label")),
            pl.when(pl.lit(cfg.only_validated) & (pl.col("validated") == False))  # noqa: E712
            .then(pl.lit("not validated")),
            pl.when(pl.col("source_label").is_null() & pl.col("box_x").is_null())
            .then(pl.lit("with neither box nor label")),
        )
    )  # fmt: skip
    empties = [label.casefold() for label in cfg.empty_labels]
    empties = [name for name in frame["source_label"].unique().drop_nulls() if name.lower() in empties]
    kept = frame.filter(pl.col("left_out").is_null()).with_columns(
        boxless=pl.when(pl.col("source_label").is_in(empties) & (pl.col("source") != schemas.READY_CROP))
        .then(pl.lit("meaning no animal"))
        .when(pl.any_horizontal(pl.col(SIDES).is_null()))
        .then(pl.lit("without a box"))
        .when(~pl.all_horizontal(pl.col(SIDES).is_finite()) | (pl.col("box_w") <= 0) | (pl.col("box_h") <= 0))
        .then(pl.lit("with a box of no area"))
    )
    boxed = _with_ids(kept.filter(pl.col("boxless").is_null()), log)
    several = not all_differ(boxed["box_id"])
    unique = boxed.unique("box_id", keep="first", maintain_order=True) if several else boxed
    log.account(
        "annotations",
        objects.height,
        "boxes",
        unique.height,
        {
            **(Counter(_counts(frame, "left_out")) + Counter(_counts(kept, "boxless"))),
            "naming a box again": boxed.height - unique.height,
        },
    )
    named = [("left_out", "pointing to no image", "image")]
    named += [("left_out", why, "image_id") for why in ("with a blank label", *_counts(frame, "problem"))]
    for column, reason, what in (*named, ("boxless", "with a box of no area", "image_id")):
        bad = (frame if column == "left_out" else kept).filter(pl.col(column) == reason)
        if bad.height:
            log.warn(f"{bad.height} annotations {reason} (first: {bad['source_id'][0]}, image {bad[what][0]}).")
    boxes = unique.select(
        "box_id",
        "image_id",
        *SIDES,
        "unit",
        "frame",
        "source",
        # A label's confidence is the labeller's; a box without one of its own was drawn or accepted by a person.
        conf=pl.coalesce("box_conf", pl.when(pl.col("validated") == False).then("conf")),  # noqa: E712
    )
    whole = kept.filter(pl.col("boxless").is_not_null()).with_columns(box_id=pl.lit(None, pl.String))
    labels = boxed.select(_LABEL_COLUMNS).drop_nulls("source_label")
    if several:
        labels = labels.unique(maintain_order=True)
    of_images = whole.select(_LABEL_COLUMNS).drop_nulls("source_label").unique(maintain_order=True)
    return boxes, pl.concat([labels, of_images])


def _with_ids(boxed: pl.DataFrame, log: Log) -> pl.DataFrame:
    """Name every box: `<dataset>/<its id>`, or by image and position where it has none or shares it with another.

    One object with several labels comes as several annotations with the very same box: it is one box.
    """
    by_source = pl.concat_str("dataset", "source_id", separator="/")
    boxed = boxed.with_columns(box_id=by_source)
    if boxed["box_id"].null_count() or not all_differ(boxed["box_id"]):
        doubtful = boxed.filter(pl.col("box_id").is_null() | pl.col("box_id").is_duplicated())
        place = pl.format("{}/{},{},{},{}", "image_id", *SIDES)
        doubtful = doubtful.unique(["box_id", *_PLACE]).with_columns(
            repeats=pl.col("box_id").is_not_null() & (pl.len().over("box_id") > 1), place=place
        )
        renamed = doubtful.filter(pl.col("repeats") | pl.col("box_id").is_null())
        keys = ["box_id", *_PLACE]
        boxed = boxed.join(renamed.select(*keys, "place"), on=keys, how="left", nulls_equal=True, maintain_order="left")
        repeated = boxed.filter(pl.col("place").is_not_null(), pl.col("box_id").is_not_null())
        if repeated.height:
            log.warn(
                f"{repeated.height} boxes share their annotation id with another box (first: "
                f"{repeated['source_id'][0]}); they are named by image and position instead."
            )
        boxed = boxed.with_columns(box_id=pl.coalesce("place", "box_id"))
    if all_differ(boxed.select(_PLACE)):
        return boxed
    again = boxed.select(_PLACE).is_duplicated()
    one = pl.when(again).then(pl.col("box_id").first().over(_PLACE)).otherwise("box_id")
    return boxed.with_columns(box_id=one)


def _counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.drop_nulls(column).group_by(column).len().sort(column).iter_rows())
