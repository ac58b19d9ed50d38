"""Crops and labels -> examples: which crop teaches which label, and which group it belongs to."""

import hashlib

import polars as pl

from trapline.core import schemas
from trapline.core.config import DatasetConfig
from trapline.core.errors import InputError
from trapline.core.log import Log

OTHER = "other"


def dataset(
    images: pl.DataFrame,
    crops: pl.DataFrame,
    labels: pl.DataFrame,
    corrections: pl.DataFrame,
    cfg: DatasetConfig,
    *,
    log: Log,
) -> pl.DataFrame:
    """Make the examples table.

    Args:
        images, crops, labels: IMAGES, CROPS and LABELS rows.
        corrections: box_id, action, to: the last decision of a person for a box.

    Returns:
        EXAMPLES rows, sorted by crop_id.

    Raises:
        InputError: No example is left; says what left them out.
    """
    left_out: dict[str, int] = {}
    good = crops.filter(pl.col("failure").is_null())
    left_out["whose crop failed"] = crops.height - good.height
    stray = corrections.drop_nulls("box_id").join(crops, on="box_id", how="anti")
    if stray.height:
        log.warn(f"{stray.height} corrections are of boxes that do not exist (first: {stray['box_id'][0]}).")
    named = _labels_of_boxes(labels, corrections, cfg)
    frame = good.join(named, on="box_id", how="left", maintain_order="left")

    def leave_out(reason: str, condition: pl.Expr) -> None:
        nonlocal frame
        kept = frame.filter(~condition.fill_null(False))
        left_out[reason] = frame.height - kept.height
        frame = kept

    leave_out("excluded by a correction", pl.col("excluded"))
    leave_out("a person was unsure of", pl.col("unsure"))
    leave_out("without a label", pl.col("labels").is_null() | (pl.col("labels").list.len() == 0))
    leave_out("of an excluded label", pl.col("labels").list.eval(pl.element().is_in(cfg.exclude)).list.any())
    leave_out("with several labels", pl.col("labels").list.len() > 1)
    frame = frame.join(images.drop("width_px", "height_px", "uri"), on="image_id", how="left", maintain_order="left")
    frame = frame.with_columns(group_id=_group(cfg), weight=pl.lit(1.0))
    frame, rare = _rare_labels(frame, cfg, log)
    left_out["of a rare label"] = rare
    log.account("boxes", crops.height, "examples", frame.height, left_out)
    if not frame.height:
        reasons = [f"{n} {reason}" for reason, n in left_out.items() if n] or ["there are no boxes at all"]
        raise InputError("no example is left to learn from:", reasons)
    frame = frame.with_columns(heldback=_heldback(frame, cfg))
    return frame.select(list(schemas.EXAMPLES.columns)).sort("crop_id")


def label_counts(examples: pl.DataFrame) -> pl.DataFrame:
    """label, crops, groups, sequences of every label, most crops first."""
    return (
        examples.explode("labels")
        .group_by(label="labels")
        .agg(
            crops=pl.len(),
            groups=pl.col("group_id").n_unique(),
            sequences=pl.col("sequence_id").n_unique(),
        )
        .sort("crops", "label", descending=[True, False])
    )


def _labels_of_boxes(labels: pl.DataFrame, corrections: pl.DataFrame, cfg: DatasetConfig) -> pl.DataFrame:
    """box_id -> labels (mapped, corrected, distinct, sorted), excluded, unsure."""
    mapped = (
        labels.filter(pl.col("box_id").is_not_null())
        .with_columns(label=pl.col("source_label").replace(cfg.label_map))
        .group_by("box_id")
        .agg(labels=pl.col("label").unique().sort())
    )
    relabel = pl.col("action") == "relabel"
    return mapped.join(corrections, on="box_id", how="left").select(
        "box_id",
        labels=pl.when(relabel).then(pl.concat_list("to")).otherwise("labels"),
        excluded=pl.col("action") == "exclude",
        unsure=pl.col("action") == "unsure",
    )


def _group(cfg: DatasetConfig) -> pl.Expr:
    """What may not straddle splits; a frame without a place is grouped with its sequence."""
    place = pl.coalesce("camera_id", "location_id") if cfg.group_by == "camera" else pl.col("location_id")
    by_place = pl.concat_str("dataset", place, separator="/")
    return pl.coalesce(by_place, pl.concat_str(pl.lit("sequence "), "sequence_id"))


def _rare_labels(frame: pl.DataFrame, cfg: DatasetConfig, log: Log) -> tuple[pl.DataFrame, int]:
    """Handle labels seen in fewer than `min_locs` groups, and say which they are."""
    label = pl.col("labels").list.first()
    groups = frame.group_by(label=label).agg(groups=pl.col("group_id").n_unique(), crops=pl.len())
    rare = groups.filter(pl.col("groups") < cfg.min_locs).sort("label")
    if not rare.height:
        return frame, 0
    names = ", ".join(f"{name} ({n} groups, {crops} crops)" for name, n, crops in rare.iter_rows())
    done = {"keep": "kept, train first", "drop": "left out", "other": f"merged into {OTHER}"}[cfg.rare]
    log.warn(f"{rare.height} labels are seen in fewer than {cfg.min_locs} groups and were {done}: {names}.")
    is_rare = label.is_in(rare["label"].to_list())
    if cfg.rare == "drop":
        kept = frame.filter(~is_rare)
        return kept, frame.height - kept.height
    if cfg.rare == "other":
        merged = pl.when(is_rare).then(pl.concat_list(pl.lit(OTHER))).otherwise("labels")
        return frame.with_columns(labels=merged), 0
    return frame, 0


def _heldback(frame: pl.DataFrame, cfg: DatasetConfig) -> pl.Series:
    """Mark `heldback_frac` of every group's sequences (rounded up or down by chance), never all of them.

    Order and rounding come from hashes of seed and name, so that adding images elsewhere moves nothing here.
    """
    sequences = frame.select("group_id", "sequence_id").unique()
    sequences = sequences.with_columns(
        key=pl.Series([_chance(cfg.seed, name) for name in sequences["sequence_id"]], dtype=pl.Float64),
        rounding=pl.Series([_chance(cfg.seed, "group", name) for name in sequences["group_id"]], dtype=pl.Float64),
    ).sort("group_id", "key")
    wanted = (pl.len() * cfg.heldback_frac + pl.col("rounding").first()).floor().clip(upper_bound=pl.len() - 1)
    place = pl.int_range(pl.len()).over("group_id")
    marked = sequences.with_columns(heldback=place < wanted.over("group_id"))
    keys = ["group_id", "sequence_id"]
    return frame.select(keys).join(marked, on=keys, how="left", maintain_order="left")["heldback"]


def _chance(*parts: object) -> float:
    """A number in [0, 1) fixed by `parts`."""
    digest = hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
