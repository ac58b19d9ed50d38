"""A person's decisions on boxes (corrections.csv) put into the annotations themselves."""

import polars as pl

from trapline.core.box_columns import SIDES
from trapline.core.log import Log

OF_A_LIST = r"#\d+$"  # how `trapline review --list` names a box: <file>#<detection>


def decide(
    boxes: pl.DataFrame, labels: pl.DataFrame, corrections: pl.DataFrame, log: Log
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """BOXES and LABELS rows after a person's decisions.

    relabel: the box bears the new label alone, validated by that person. accept: its labels are validated. exclude:
    the box and its labels go. unsure: nothing changes, it is counted.

    Args:
        corrections: box_id, action, to, who: the last decision for every box.
    """
    known = corrections.join(boxes.select("box_id"), on="box_id", how="semi")
    counts = {action: known.filter(pl.col("action") == action).height for action in ("accept", "relabel", "exclude")}
    left_out = {
        "of boxes that do not exist": corrections.height - known.height,
        "where the person was unsure": known.filter(pl.col("action") == "unsure").height,
    }
    unknown = corrections.join(boxes.select("box_id"), on="box_id", how="anti")["box_id"].drop_nulls()
    listed = unknown.filter(unknown.str.contains(OF_A_LIST))
    if listed.len():
        log.warn(
            f"{listed.len():,} decisions are about detections of a list (first: {listed[0]}). Apply them to the "
            "results file that the list was made from: trapline convert RESULTS.json CORRECTIONS.csv --to cct -o FILE."
        )
    log.account("corrections", corrections.height, "applied", sum(counts.values()), left_out)
    excluded = known.filter(pl.col("action") == "exclude")["box_id"].implode()
    boxes = boxes.filter(~pl.col("box_id").is_in(excluded))
    told = labels.join(known, on="box_id", how="left", maintain_order="left")
    told = told.filter((pl.col("action") != "exclude").fill_null(True))
    is_relabel = (pl.col("action") == "relabel").fill_null(False)
    person = is_relabel | (pl.col("action") == "accept").fill_null(False)
    decided = told.with_columns(
        source_label=pl.when(is_relabel).then("to").otherwise("source_label"),
        validated=pl.when(person).then(pl.lit(True)).otherwise("validated"),
        validated_by=pl.when(person).then(pl.coalesce("who", "validated_by")).otherwise("validated_by"),
        conf=pl.when(person).then(None).otherwise("conf"),
    )
    # A box of several labels that was given one bears it once; a box that bore none bears its first.
    named = decided.filter(~is_relabel).select(labels.columns)
    once = decided.filter(is_relabel).unique("box_id", keep="first", maintain_order=True).select(labels.columns)
    bare = known.filter(pl.col("action") == "relabel").join(labels, on="box_id", how="anti").join(boxes, on="box_id")
    first = bare.select(
        "image_id",
        "box_id",
        source_label="to",
        conf=pl.lit(None, pl.Float64),
        validated=pl.lit(True),
        validated_by="who",
        sequence_level=pl.lit(False),
    )
    return boxes, pl.concat([named, once, first.select(labels.columns)]).sort("image_id", "box_id", "source_label")


def of_detections(
    corrections: pl.DataFrame, detections: pl.DataFrame, images: pl.DataFrame, boxes: pl.DataFrame
) -> pl.DataFrame:
    """Decisions about boxes that a review list names `<file>#<detection>`, by the boxes' own ids.

    Args:
        corrections: box_id, action, to, who. Ids that no detection bears are left as they are.
        detections: file, number (from 0, in its file), box_x, box_y, box_w, box_h: as the results file gives them.
        images, boxes: IMAGES and BOXES rows that were read from it.
    """
    placed = boxes.join(images.select("image_id", file="file_name"), on="image_id").select("file", *SIDES, own="box_id")
    named = detections.join(placed, on=["file", *SIDES]).select(
        "own", box_id=pl.format("{}#{}", "file", "number")
    ).unique("box_id")  # fmt: skip
    found = corrections.join(named, on="box_id", how="left", maintain_order="left")
    return found.with_columns(box_id=pl.coalesce("own", "box_id")).drop("own")
