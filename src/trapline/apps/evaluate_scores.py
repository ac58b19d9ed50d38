"""Evaluate what trapline did not train: scores of any classifier against a table of examples."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from trapline.core import schemas
from trapline.core.alignment import align
from trapline.core.config import EvaluateConfig
from trapline.core.errors import InputError
from trapline.core.label_sums import LabelSums, label_sums
from trapline.core.log import Log
from trapline.formats import score_csv, target_mapping, taxonomy_csv
from trapline.io import atomic
from trapline.io.ledger import file_digest
from trapline.io.places import Place
from trapline.stages.evaluate import evaluate


def evaluate_scores(
    scores: Sequence[Path],
    examples: pl.DataFrame,
    splits: pl.DataFrame,
    out: Path,
    cfg: EvaluateConfig,
    *,
    mapping: Path | None = None,
    crops_dir: Path | Place | None = None,
    name: str = "",
    log: Log,
) -> pl.DataFrame:
    """Compare scores of any tool with labels, and write into a folder what `evaluate` writes into a run's.

    Args:
        scores: Files that formats.score_csv reads, of the same labels; such as one per split.
        examples, splits: EXAMPLES and SPLITS rows. Paths of the scores are brought to the examples' names by the one
            leading folder that they lack or have too many.
        out: The folder; made if it does not exist.
        mapping: A target mapping: JSON of target -> the tool's labels, whose probabilities are summed; the tool's other
            labels become "other". The examples' labels are mapped alike.
        crops_dir: Where the crops lie, for the report's pictures; without it there are none.
        name: What the report calls the classifier. Default: the first file's name.

    Returns:
        METRICS rows.

    Raises:
        InputError: A file cannot be used, files differ in their labels or repeat a crop, no path is an example's, or
            the mapping has problems.
    """
    read = [score_csv.read(path) for path in scores]
    for note in (note for part in read for note in part.notes):
        log.warn(note)
    labels = list(read[0].labels)
    for path, part in zip(scores, read, strict=True):
        if list(part.labels) != labels:
            differ = sorted(set(labels) ^ set(part.labels)) or ["their order"]
            raise InputError(f"{path} has other labels than {scores[0]} (first: {differ[0]}).")
    crop_ids = _names(pl.concat([part.paths for part in read]), examples, crops_dir, log)
    values = read[0].values if len(read) == 1 else np.concatenate([part.values for part in read])
    del read
    known = examples["labels"].explode().drop_nulls().unique().sort().to_list()
    sums = label_sums(target_mapping.read(mapping), labels, known) if mapping else None
    if sums is not None:
        values, labels = sums.sum(values), list(sums.targets)
        examples = examples.with_columns(pl.col("labels").list.eval(sums.rename(pl.element())))
        _tell_mapping(sums, known, log)
    predictions = pl.DataFrame({"crop_id": crop_ids, "scores": values}, schema_overrides={"crop_id": pl.String})
    predictions = predictions.with_columns(
        scores=pl.col("scores").cast(pl.Array(pl.Float32, len(labels))), failure=pl.lit(None, pl.String)
    )
    title = name or scores[0].name
    params = {
        "labels": labels,
        "scores_of": title,
        "config": {
            "scores": {path.name: file_digest(path) for path in scores},
            "target_mapping": _by_target(sums) if sums else None,
        },
    }
    content = msgspec.json.format(msgspec.json.encode(params), indent=2)
    atomic.replace(out / "params.json", lambda stream: stream.write(content))
    return evaluate(
        schemas.PREDICTIONS.check(predictions),
        examples,
        splits,
        cfg,
        taxonomy=taxonomy_csv.read(Path(cfg.taxonomy)) if cfg.taxonomy else None,
        run_dir=out,
        crops_dir=crops_dir or out / "no crops",
        log=log,
    )


def _names(paths: pl.Series, examples: pl.DataFrame, crops_dir: Path | Place | None, log: Log) -> pl.Series:
    """The tool's paths as the examples name their crops."""
    if isinstance(crops_dir, Path):  # a tool that was run on the folder itself may have written where it lies
        paths = paths.str.strip_prefix(f"{crops_dir.resolve().as_posix()}/")
    paths, shifted = align(paths, examples["crop_id"])
    if shifted:
        log.note(f"paths of the scores: {shifted}")
    there = paths.is_in(examples["crop_id"].implode())
    if not there.any():
        some = f"{paths[0]}" if len(paths) else "none at all"
        example = examples["crop_id"][0] if examples.height else "none at all"
        raise InputError(
            f"none of {len(paths):,} paths of the scores is an example's (scores: {some}; examples: {example}). Crops "
            "are matched by path, below the same folder."
        )
    again = paths.filter(paths.is_duplicated())
    if len(again):
        raise InputError(f"{again.n_unique():,} crops are scored twice (first: {again[0]}).")
    log.account("scored paths", len(paths), "of examples", int(there.sum()), {"of no example": int((~there).sum())})
    return paths.alias("crop_id")


def _tell_mapping(sums: LabelSums, known: Sequence[str], log: Log) -> None:
    summed = _by_target(sums)
    log.note(f"{len(sums.labels)} labels become {len(sums.targets)}: " + "; ".join(
        f"{target} ({len(summed[target]):,})" for target in sums.targets[:12]
    ) + (" ..." if len(sums.targets) > 12 else ""))  # fmt: skip


def _by_target(sums: LabelSums) -> dict[str, list[str]]:
    return {target: [label for label in sums.labels if sums.of[label] == target] for target in sums.targets}
