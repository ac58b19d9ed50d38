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
    detected = ~pl.col("source").is_in(["human", schemas.READY_CROP]) & pl.col("conf").is_not_null()
    found = boxes.filter(detected)
    if not found.height:
        return boxes, labels
    drawn = boxes.filter(pl.col("source") == "human").select("image_id").unique()
    own = labels.drop_nulls("box_id").group_by("box_id").agg(machine=pl.col("source_label").first().str.to_lowercase())
    empties = [label.casefold() for label in empty_labels]
    whole = labels.filter(pl.col("box_id").is_null()).with_columns(
        name=pl.col("source_label").str.strip_chars().str.to_lowercase()
    )
    per_image = whole.group_by("image_id").agg(
        names=pl.col("name").unique(), kind=pl.col("name").first().replace_strict(_KINDS, default="animal")
    )
    judged = (
        found.join(per_image, on="image_id", how="left", maintain_order="left")
        .join(own, on="box_id", how="left", maintain_order="left")
        .join(drawn.with_columns(drawn=True), on="image_id", how="left", maintain_order="left")
        .with_columns(seen=pl.col("machine").replace_strict(_KINDS, default=None))
        .with_columns(
            empty=pl.col("names").list.eval(pl.element().is_in(empties)).list.any(),
            fits=pl.coalesce("seen", pl.lit("animal")) == pl.col("kind"),
        )
    )
    reasons = (
        ("below the detection threshold", pl.col("conf") < threshold),
        ("of images in which people drew boxes", pl.col("drawn")),
        ("of images that people call empty", pl.col("empty")),
    )
    judged = judged.with_columns(
        left_out=pl.coalesce(pl.when(test.fill_null(False)).then(pl.lit(why)) for why, test in reasons)
    )
    kept = pl.col("left_out").is_null()
    one_label = pl.col("names").list.len() == 1
    candidate = kept & one_label.fill_null(False) & pl.col("fits")
    judged = judged.with_columns(
        n=candidate.sum().over("image_id"),
        first=candidate.cum_sum().over("image_id", order_by="conf", descending=True) == 1,
        candidate=candidate,
    )
    fits_rule = {"all": pl.lit(True), "best": pl.col("first"), "single": pl.col("n") == 1}[rule]
    rest = (
        ("beside a more confident one" if rule == "best" else "of images with several animals", pl.col("candidate") & ~fits_rule),
        ("of images with several labels", ~pl.col("candidate") & ~one_label.fill_null(True) & pl.col("machine").is_null()),
        ("of animals in images labelled with people or vehicles", ~pl.col("candidate") & one_label & pl.col("machine").is_null()),
        ("of images without a label", ~pl.col("candidate") & pl.col("names").is_null() & pl.col("machine").is_null()),
    )  # fmt: skip
    judged = judged.with_columns(
        left_out=pl.coalesce("left_out", *(pl.when(test.fill_null(False)).then(pl.lit(why)) for why, test in rest))
    )
    stays = judged.filter(pl.col("left_out").is_null())
    left_out = dict(judged.drop_nulls("left_out").group_by("left_out").len().sort("left_out").iter_rows())
    log.account("detections", found.height, "boxes", stays.height, left_out)
    paired = stays.filter("candidate")
    given = paired.select("image_id", "box_id").join(
        whole.drop("box_id", "name").unique(["image_id", "source_label"], keep="first", maintain_order=True),
        on="image_id",
        maintain_order="left",
    )
    done = paired["image_id"].unique()
    gone = judged.drop_nulls("left_out")["box_id"]
    kept_labels = labels.filter(
        ~(pl.col("box_id").is_null() & pl.col("image_id").is_in(done.implode()))
        & ~(pl.col("box_id").is_in(paired["box_id"].implode()).fill_null(False))
        & ~(pl.col("box_id").is_in(gone.implode()).fill_null(False))
    )
    return (
        boxes.filter(~pl.col("box_id").is_in(gone.implode())),
        pl.concat([kept_labels, given.select(labels.columns)]).sort("image_id", "box_id", "source_label"),
    )


def kind_of(label: str) -> str:
    """What a detector would call a thing of this label: person, vehicle or animal."""
    return _KINDS.get(label.strip().casefold(), "animal")


_KINDS = {**dict.fromkeys(PEOPLE, "person"), **dict.fromkeys(VEHICLES, "vehicle")}
