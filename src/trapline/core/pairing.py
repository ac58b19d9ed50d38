"""Labels of whole images paired with boxes that a detector found: which box shows what the label says.

A detector finds animals and names none; a person labelled the image and drew nothing. Together they give labelled
boxes. The reference chain took images with exactly one detection and dropped all others silently.
"""

from typing import Literal

import polars as pl

from trapline.core import schemas
from trapline.core.log import Log

AnimalRule = Literal["all", "best", "single"]
PEOPLE = ("person", "human", "people", "homo sapiens")
VEHICLES = ("vehicle", "car", "truck", "motorcycle", "bicycle")
_KINDS = {**dict.fromkeys(PEOPLE, "person"), **dict.fromkeys(VEHICLES, "vehicle")}


def kind_of(label: str) -> str:
    """What a detector would call a thing of this label: person, vehicle or animal."""
    return _KINDS.get(label.strip().casefold(), "animal")


def pair(
    boxes: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    threshold: float,
    rule: AnimalRule,
    empty_labels: tuple[str, ...],
    log: Log,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give every detected box the one label of its image, and leave out the boxes that get none.

    A box pairs when its detection's confidence reaches `threshold` and its image bears exactly one label that is not
    in `empty_labels`. A label that names people or vehicles pairs with boxes that the detector calls so, any other
    with those that it calls animals; a classifier's own label of such a box gives way. Without a label of the image
    it stays. Boxes that a person drew are not touched; where there are any in an image, its detections are not used.

    Args:
        boxes, labels: BOXES and LABELS rows. Detections are boxes of a `source` other than human with a `conf`.
        threshold: Least confidence of a detection, 0 to 1.
        rule: all: every animal detected bears the label. best: the most confident one alone. single: images with
            exactly one such detection, as the reference chain had it.
        empty_labels: Labels that mean "no animal", in any case.

    Returns:
        (boxes, labels). A label that found its boxes now belongs to them and no longer to the whole image.
    """
    found = boxes.filter(~pl.col("source").is_in(["human", schemas.READY_CROP]) & pl.col("conf").is_not_null())
    if not found.height:
        return boxes, labels
    whole = labels.filter(pl.col("box_id").is_null()).with_columns(
        name=pl.col("source_label").str.strip_chars().str.to_lowercase()
    )
    drawn = boxes.filter(pl.col("source") == "human").select("image_id").unique()
    judged = _judge(_beside(found, labels, whole, drawn, empty_labels), threshold, rule)
    stays = judged.filter(pl.col("left_out").is_null())
    left_out = dict(judged.drop_nulls("left_out").group_by("left_out").len().sort("left_out").iter_rows())
    log.account("detections", found.height, "boxes", stays.height, left_out)
    paired = stays.filter("pairs").select("image_id", "box_id")
    of_image = whole.unique(["image_id", "name"], keep="first", maintain_order=True).drop("box_id", "name")
    given = paired.join(of_image, on="image_id", maintain_order="left")
    gone = judged.drop_nulls("left_out").select("box_id")
    kept = (
        labels.filter(pl.col("box_id").is_not_null() | ~pl.col("image_id").is_in(paired["image_id"].implode()))
        .join(paired.select("box_id"), on="box_id", how="anti")
        .join(gone, on="box_id", how="anti")
    )
    return (
        boxes.join(gone, on="box_id", how="anti", maintain_order="left"),
        pl.concat([kept, given.select(labels.columns)]).sort("image_id", "box_id", "source_label"),
    )


def _beside(
    found: pl.DataFrame, labels: pl.DataFrame, whole: pl.DataFrame, drawn: pl.DataFrame, empty_labels: tuple[str, ...]
) -> pl.DataFrame:
    """Detections with what else is known: `names` and `kind` of the image's labels, whether people drew boxes in it
    (`drawn`) or call it `empty`, whether a machine `labelled` the box itself, and whether label and box fit."""
    own = labels.drop_nulls("box_id").group_by("box_id").agg(machine=pl.col("source_label").first().str.to_lowercase())
    per_image = whole.group_by("image_id").agg(
        names=pl.col("name").unique(), kind=pl.col("name").first().replace_strict(_KINDS, default="animal")
    )
    empties = [label.casefold() for label in empty_labels]
    seen = pl.col("machine").replace_strict(_KINDS, default="animal")
    return (
        found.join(per_image, on="image_id", how="left", maintain_order="left")
        .join(own, on="box_id", how="left", maintain_order="left")
        .join(drawn.with_columns(drawn=True), on="image_id", how="left", maintain_order="left")
        .with_columns(
            labelled=pl.col("machine").is_not_null(),
            empty=pl.col("names").list.eval(pl.element().is_in(empties)).list.any(),
            fits=seen.fill_null("animal") == pl.col("kind"),
            n_names=pl.col("names").list.len().fill_null(0),
        )
    )


def _judge(found: pl.DataFrame, threshold: float, rule: AnimalRule) -> pl.DataFrame:
    """Detections with `pairs` (takes the image's label) and `left_out`: null, or the first reason that holds."""
    barred = (
        ("below the detection threshold", pl.col("conf") < threshold),
        ("of images in which people drew boxes", pl.col("drawn")),
        ("of images that people call empty", pl.col("empty")),
    )
    frame = found.with_columns(left_out=_first(barred)).with_columns(
        could=pl.col("left_out").is_null() & (pl.col("n_names") == 1) & pl.col("fits").fill_null(False)
    )
    rank = pl.when("could").then("conf").rank("ordinal", descending=True).over("image_id")
    chosen = {"all": pl.lit(True), "best": rank == 1, "single": pl.col("could").sum().over("image_id") == 1}[rule]
    frame = frame.with_columns(pairs=(pl.col("could") & chosen).fill_null(False))
    bare = ~pl.col("could") & ~pl.col("labelled")
    unpaired = (
        ("beside a more confident animal", pl.col("could") & ~pl.col("pairs") & (rule == "best")),
        ("of images with several animals", pl.col("could") & ~pl.col("pairs")),
        ("of images with several labels", bare & (pl.col("n_names") > 1)),
        ("of images labelled with something else", bare & (pl.col("n_names") == 1)),
        ("of images without a label", bare & (pl.col("n_names") == 0)),
    )
    return frame.with_columns(left_out=pl.coalesce("left_out", _first(unpaired)))


def _first(reasons: tuple[tuple[str, pl.Expr], ...]) -> pl.Expr:
    """The first reason whose condition holds, or null."""
    return pl.coalesce(pl.when(holds.fill_null(False)).then(pl.lit(why)) for why, holds in reasons)
