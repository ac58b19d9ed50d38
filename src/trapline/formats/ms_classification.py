"""The reference chain's files: classification_ds.csv, label_index.json, splits.json (FORMATS.md)."""

from pathlib import Path

import msgspec
import polars as pl

from trapline.core.errors import InputError
from trapline.core.keys import all_differ
from trapline.core.schemas import SPLIT_NAMES
from trapline.io import atomic, tables


def write_dataset_csv(path: Path, examples: pl.DataFrame, confidence: pl.DataFrame) -> None:
    """Write classification_ds.csv: path, dataset, location, dataset_class, confidence, label.

    Args:
        examples: EXAMPLES rows; several labels are joined by a comma.
        confidence: crop_id, source_label, conf (1 for a person's box).
    """
    table = examples.join(confidence, on="crop_id", how="left", maintain_order="left").select(
        path="crop_id",
        dataset="dataset",
        location=location_name(),
        dataset_class="source_label",
        confidence=pl.col("conf").fill_null(1.0),
        label=pl.col("labels").list.join(","),
    )
    tables.save_csv(path, table)


def confidence(crops: pl.DataFrame, labels: pl.DataFrame, boxes: pl.DataFrame) -> pl.DataFrame:
    """crop_id, source_label and conf of every crop: the first of its labels, and its box's confidence.

    Args:
        crops, labels, boxes: CROPS, LABELS and BOXES rows.
    """
    first = labels.drop_nulls("box_id").select("box_id", "source_label")
    if not all_differ(first["box_id"]):
        first = first.unique("box_id", keep="first")
    scored = boxes.select("box_id", "conf").drop_nulls("conf")
    named = crops.select("crop_id", "box_id").join(first, on="box_id").join(scored, on="box_id", how="left")
    return named.drop("box_id")


def write_label_index(path: Path, labels: list[str]) -> None:
    """Write label_index.json: {"0": name, ...} in sorted order."""
    index = {str(n): label for n, label in enumerate(sorted(labels))}
    atomic.replace_text(path, msgspec.json.format(msgspec.json.encode(index), indent=1).decode())


def read_label_index(path: Path) -> list[str]:
    """Labels in the order of a classifier's outputs: label_index.json, a JSON list, or a text file of one per line.

    Raises:
        InputError: It is missing, none of these, does not number its labels from 0, or names one twice.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"label list {path} cannot be read: {error}.") from None
    if path.suffix.casefold() == ".json":
        try:
            found = msgspec.json.decode(text, type=dict[str, str] | list[str])
            labels = found if isinstance(found, list) else [found[str(n)] for n in range(len(found))]
        except (msgspec.DecodeError, KeyError) as error:
            raise InputError(
                f'{path} is not a label list: {error}. It is {{"0": name, "1": name, ...}}, or ["name", ...].'
            ) from None
    else:
        labels = [line.strip() for line in text.splitlines() if line.strip()]
    again = [label for n, label in enumerate(labels) if label in labels[:n]]
    if again or not labels:
        raise InputError(f"{path} names {again[0]!r} twice." if again else f"{path} names no label.")
    return labels


def write_splits(path: Path, examples: pl.DataFrame, splits: pl.DataFrame) -> None:
    """Write splits.json: {"train" | "val" | "test": [[dataset, location], ...]}, sorted."""
    placed = examples.join(splits, on="group_id", how="inner").select("split", "dataset", location=location_name())
    content = {
        name: [list(row) for row in placed.filter(pl.col("split") == name).drop("split").unique().sort(pl.all()).rows()]
        for name in SPLIT_NAMES
    }
    atomic.replace_text(path, msgspec.json.format(msgspec.json.encode(content), indent=1).decode())


def read_splits(path: Path, name: str) -> pl.DataFrame:
    """dataset, location of one split of a splits.json; numeric names become text.

    Raises:
        InputError: It is missing, not JSON, or lacks that split.
    """
    content = _splits(path)
    if name not in content:
        raise InputError(f"{path} has no split {name!r}, only {', '.join(content) or 'nothing'}.")
    rows = [(str(dataset), str(location)) for dataset, location in content[name]]
    return (
        pl.DataFrame(rows, schema={"dataset": pl.String, "location": pl.String}, orient="row").unique().sort(pl.all())
    )


def read_all_splits(path: Path) -> pl.DataFrame:
    """dataset, location, split of a splits.json, sorted.

    Raises:
        InputError: It is missing, not JSON, or names another split than train, val and test.
    """
    content = _splits(path)
    if unknown := sorted(content.keys() - set(SPLIT_NAMES)):
        raise InputError(f"{path} has splits other than {', '.join(SPLIT_NAMES)}: {', '.join(unknown)}.")
    return pl.concat(
        [read_splits(path, name).with_columns(split=pl.lit(name)) for name in SPLIT_NAMES if name in content]
        or [pl.DataFrame(schema={"dataset": pl.String, "location": pl.String, "split": pl.String})]
    )


def _splits(path: Path) -> dict[str, list[tuple[str | int, str | int | float]]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list[tuple[str | int, str | int | float]]])
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}. It should be a former splits.json."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f'{path} is not a splits.json: {error}. It holds {{"train": [[dataset, location], ...], ...}}.'
        ) from None


def location_name() -> pl.Expr:
    """A crop's location; where there is none, its group's name, so that a location is never blank."""
    return pl.coalesce("location_id", "group_id")
