"""Crops and labels -> examples: which crop teaches which label, and which group it belongs to."""

import polars as pl

from trapline.core import label_rules, regions, schemas
from trapline.core.config import DatasetConfig
from trapline.core.errors import InputError
from trapline.core.keys import all_differ, in_order
from trapline.core.label_rules import LabelRules
from trapline.core.log import Log
from trapline.core.sampling import chances, within_cap

OTHER = "other"
OF_A_RARE_LABEL, OVER_GROUP_CAP, OVER_CAP = "of a rare label", "over max_per_label_location", "over max_per_label"
REASONS = (
    "whose crop failed",
    "excluded by a correction",
    "a person was unsure of",
    label_rules.DROPPED,
    label_rules.UNSELECTED,
    "without a label",
    "of an excluded label",
    "with several labels",
    OF_A_RARE_LABEL,
    OVER_GROUP_CAP,
    OVER_CAP,
)


def dataset(
    images: pl.DataFrame,
    crops: pl.DataFrame,
    labels: pl.DataFrame,
    corrections: pl.DataFrame,
    cfg: DatasetConfig,
    *,
    rules: LabelRules | None = None,
    locations: pl.DataFrame | None = None,
    boxes: pl.DataFrame | None = None,
    log: Log,
) -> pl.DataFrame:
    """Make the examples table.

    Args:
        images, crops, labels: IMAGES, CROPS and LABELS rows.
        corrections: box_id, action, to: the last decision of a person for a box.
        rules: What becomes of source labels; default: `cfg.label_map`.
        locations: LOCATIONS rows, needed for `group_by: region`.
        boxes: BOXES rows, needed for `weight_by_detection_conf`.

    Returns:
        EXAMPLES rows, sorted by crop_id.

    Raises:
        InputError: No example is left (says what left them out), or places have no coordinates for a region.
    """
    stray = corrections.drop_nulls("box_id").join(crops, on="box_id", how="anti")
    if stray.height:
        log.warn(f"{stray.height} corrections are of boxes that do not exist (first: {stray['box_id'][0]}).")
    decided = decide(images, crops, labels, corrections, cfg, rules=rules, locations=locations, log=log)
    frame = decided.filter(pl.col("left_out").is_null())
    counts = dict(decided.drop_nulls("left_out").group_by("left_out").len().iter_rows())
    left_out = {reason: counts.get(reason, 0) for reason in REASONS}
    log.account("boxes", crops.height, "examples", frame.height, left_out)
    if not frame.height:
        reasons = [f"{n} {reason}" for reason, n in left_out.items() if n]
        nothing = "there are no boxes at all. Annotations need boxes: a person's, or a detector's (MegaDetector)."
        raise InputError("no example is left to learn from:", reasons or [nothing])
    if frame["labels"].list.first().n_unique() == 1:
        log.note(
            f"all {frame.height} examples are of one label, {frame['labels'][0][0]}: there is nothing to tell apart. "
            "`trapline labels` shows what became of the others."
        )
    _warn_of_names(frame["labels"].explode().unique().sort().to_list(), log)
    frame = frame.with_columns(heldback=_heldback(frame, cfg), weight=pl.lit(1.0))
    if cfg.weight_by_detection_conf and boxes is not None:
        sure = boxes.select("box_id", weight="conf")
        frame = frame.drop("weight").join(sure, on="box_id", how="left").with_columns(pl.col("weight").fill_null(1.0))
    return in_order(frame.select(list(schemas.EXAMPLES.columns)), "crop_id")


def decide(
    images: pl.DataFrame,
    crops: pl.DataFrame,
    labels: pl.DataFrame,
    corrections: pl.DataFrame,
    cfg: DatasetConfig,
    *,
    rules: LabelRules | None = None,
    locations: pl.DataFrame | None = None,
    log: Log,
) -> pl.DataFrame:
    """What becomes of every crop: its row with labels, group_id, and `left_out`: null, or the first of REASONS.

    Arguments as `dataset`.
    """
    rules = label_rules.from_map(cfg.label_map) if rules is None else rules
    named = _labels_of_boxes(images, labels, corrections, rules)
    frame = crops.join(named, on="box_id", how="left", maintain_order="left")
    frame = frame.join(images.drop("width_px", "height_px", "uri"), on="image_id", how="left", maintain_order="left")
    n_labels = pl.col("labels").list.len().fill_null(0)
    conditions = (
        ("whose crop failed", pl.col("failure").is_not_null()),
        ("excluded by a correction", pl.col("excluded")),
        ("a person was unsure of", pl.col("unsure")),
        (label_rules.DROPPED, (n_labels == 0) & pl.col("reasons").list.contains(label_rules.DROPPED)),
        (label_rules.UNSELECTED, (n_labels == 0) & pl.col("reasons").list.contains(label_rules.UNSELECTED)),
        ("without a label", n_labels == 0),
        ("of an excluded label", pl.col("labels").list.eval(pl.element().is_in(cfg.exclude)).list.any()),
        ("with several labels", n_labels > 1),
    )
    frame = frame.with_columns(
        left_out=pl.coalesce(
            pl.when(condition.fill_null(False)).then(pl.lit(reason)) for reason, condition in conditions
        )
    )
    frame = frame.with_columns(group_id=_group(frame, cfg, locations))
    frame = _rare_labels(frame, cfg, log)
    return _caps(frame, cfg, rules)


def _warn_of_names(labels: list[str], log: Log) -> None:
    """Say which names look like one label, and which other programs will misread."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(" ".join(label.casefold().split()), []).append(label)
    same = [names for names in alike.values() if len(names) > 1]
    if same:
        log.warn(
            f"{len(same)} labels are spelt in several ways and are taken for different ones (first: "
            f"{', '.join(map(repr, same[0]))}). Merge them: trapline labels --suggest labels.yaml"
        )
    commas = [label for label in labels if "," in label]
    if commas:
        log.warn(
            f"{len(commas)} labels hold a comma (first: {commas[0]!r}), which parts several labels in "
            "classification_ds.csv: other programs will read it so. Rename them with dataset: label_map."
        )


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


def _labels_of_boxes(
    images: pl.DataFrame, labels: pl.DataFrame, corrections: pl.DataFrame, rules: LabelRules
) -> pl.DataFrame:
    """box_id -> labels (by the rules, corrected, distinct, sorted), reasons of those left out, excluded, unsure."""
    boxed = labels.filter(pl.col("box_id").is_not_null())
    names = images["dataset"].unique()
    if len(names) == 1:
        boxed = boxed.with_columns(dataset=pl.lit(names[0]))
    else:
        of_image = images.select("image_id", "dataset")
        boxed = boxed.join(of_image, on="image_id", how="left", maintain_order="left")
    applied = rules.apply(boxed).select("box_id", "label", "why")
    if all_differ(applied["box_id"]):  # one label each: no need to gather them
        named, nothing = pl.col("label").is_not_null(), pl.lit([], dtype=pl.List(pl.String))
        mapped = applied.select(
            "box_id",
            labels=pl.when(named).then(pl.concat_list("label")).otherwise(nothing),
            reasons=pl.when(named).then(nothing).otherwise(pl.concat_list("why")),
        )
    else:
        mapped = applied.group_by("box_id").agg(
            labels=pl.col("label").drop_nulls().unique().sort(),
            reasons=pl.col("why").filter(pl.col("label").is_null()).unique(),
        )
    relabel = pl.col("action") == "relabel"
    return mapped.join(corrections, on="box_id", how="left").select(
        "box_id",
        "reasons",
        labels=pl.when(relabel).then(pl.concat_list("to")).otherwise("labels"),
        excluded=pl.col("action") == "exclude",
        unsure=pl.col("action") == "unsure",
    )


def _group(frame: pl.DataFrame, cfg: DatasetConfig, locations: pl.DataFrame | None) -> pl.Series:
    """What may not straddle splits; a frame without a place is grouped with its sequence."""
    if cfg.group_by == "region":
        place = regions.cells(frame, locations, cfg.region_resolution)
        by_place = pl.concat_str(pl.lit("region "), place)
    else:
        name = {
            "camera": pl.coalesce("camera_id", "location_id"),
            "location": pl.col("location_id"),
            "deployment": pl.coalesce(
                pl.concat_str("camera_id", "deployment_id", separator="/"), "deployment_id", "location_id"
            ),
        }[cfg.group_by]
        by_place = pl.concat_str("dataset", name, separator="/")
    groups = pl.coalesce(by_place, pl.concat_str(pl.lit("sequence "), "sequence_id"))
    return frame.select(group_id=groups)["group_id"]


def _rare_labels(frame: pl.DataFrame, cfg: DatasetConfig, log: Log) -> pl.DataFrame:
    """Handle labels of fewer than `min_locs` groups or `min_examples` crops, and say which they are."""
    label = pl.col("labels").list.first()
    kept = pl.col("left_out").is_null()
    groups = frame.filter(kept).group_by(label=label).agg(groups=pl.col("group_id").n_unique(), crops=pl.len())
    few = (pl.col("groups") < cfg.min_locs) | (pl.col("crops") < cfg.min_examples)
    rare = groups.filter(few).sort("label")
    if not rare.height:
        return frame
    names = ", ".join(f"{name} ({n} groups, {crops} crops)" for name, n, crops in rare.iter_rows())
    done = {"keep": "kept, train first", "drop": "left out", "other": f"merged into {OTHER}"}[cfg.rare]
    least = f" or {cfg.min_examples} crops" if cfg.min_examples > 1 else ""
    log.warn(f"{rare.height} labels are seen in fewer than {cfg.min_locs} groups{least} and were {done}: {names}.")
    is_rare = kept & label.is_in(rare["label"].to_list())
    if cfg.rare == "drop":
        return frame.with_columns(left_out=pl.when(is_rare).then(pl.lit(OF_A_RARE_LABEL)).otherwise("left_out"))
    if cfg.rare == "other":
        return frame.with_columns(labels=pl.when(is_rare).then(pl.concat_list(pl.lit(OTHER))).otherwise("labels"))
    return frame


def _caps(frame: pl.DataFrame, cfg: DatasetConfig, rules: LabelRules) -> pl.DataFrame:
    """Apply the caps: first per label and group, then per label."""
    limits = dict(rules.max_count)
    if cfg.max_per_label:
        names = frame["labels"].list.first().drop_nulls().unique().to_list()
        limits = {name: min(limits.get(name, cfg.max_per_label), cfg.max_per_label) for name in names}
    if cfg.max_per_label_location:
        frame = _cap(frame, ["label", "group_id"], cfg.max_per_label_location, cfg, rules, OVER_GROUP_CAP)
    return _cap(frame, ["label"], limits, cfg, rules, OVER_CAP) if limits else frame


def _cap(
    frame: pl.DataFrame,
    by: list[str],
    limits: int | dict[str, int],
    cfg: DatasetConfig,
    rules: LabelRules,
    reason: str,
) -> pl.DataFrame:
    """Mark as left out what a cap leaves out."""
    frame = frame.with_row_index("row")
    kept = frame.filter(pl.col("left_out").is_null()).with_columns(label=pl.col("labels").list.first())
    tiers = [
        next((n for n, tier in enumerate(rules.prioritize.get(label, ())) if dataset in tier), 10**6)
        for label, dataset in kept.select("label", "dataset").iter_rows()
    ]
    keep = within_cap(kept, by, limits, cfg.seed, pl.Series("tier", tiers, dtype=pl.Int64))
    over = pl.col("row").is_in(kept.filter(~keep)["row"].implode())
    return frame.with_columns(left_out=pl.when(over).then(pl.lit(reason)).otherwise("left_out")).drop("row")


def _heldback(frame: pl.DataFrame, cfg: DatasetConfig) -> pl.Series:
    """Mark `heldback_frac` of every group's sequences (rounded up or down by chance), never all of them.

    Nor all that a group has of a label: in train, it teaches every label that it has. Order and rounding come from
    hashes of seed and name, so that adding images elsewhere moves nothing here.
    """
    keys = ["group_id", "sequence_id"]
    sequences = frame.select(keys).unique()
    sequences = sequences.with_columns(
        key=chances(sequences["sequence_id"], cfg.seed),
        rounding=chances(sequences["group_id"], cfg.seed, "group"),
    ).sort("group_id", "key")
    wanted = (pl.len() * cfg.heldback_frac + pl.col("rounding").first()).floor().clip(upper_bound=pl.len() - 1)
    place = pl.int_range(pl.len()).over("group_id")
    marked = sequences.filter(place < wanted.over("group_id")).select(keys)
    rows = frame.select(*keys, "labels")
    out = rows.join(marked, on=keys, how="semi").explode("labels").unique()
    left = rows.join(marked, on=keys, how="anti").select("group_id", "labels").unique().explode("labels")
    last = out.join(left, on=["group_id", "labels"], how="anti")  # labels that a group would not teach
    spared = last.sort("sequence_id").unique(["group_id", "labels"], keep="first")
    marked = marked.join(spared, on=keys, how="anti").with_columns(heldback=pl.lit(True))
    return rows.join(marked, on=keys, how="left", maintain_order="left")["heldback"].fill_null(False)
