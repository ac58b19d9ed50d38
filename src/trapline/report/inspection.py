"""inspect.html: what a person should look at, for colleagues without the tool. One file, nothing fetched, nothing run.

A page is to be mailed: its pictures take PICTURE_BYTES at most. Issues come before samples, and of every kind and label
the first pictures before the second ones of any; what is left without a picture is still named.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from trapline.core.issues.shares import split_table
from trapline.io.places import Place
from trapline.report.gallery import thumbnail
from trapline.report.html import environment

PER_KIND, PER_LABEL = 48, 12
PICTURE_PX, QUALITY = 128, 72
PICTURE_BYTES = 14_000_000
"""All pictures together, as text in the page."""
MOST_LABELS = 100
"""Labels whose samples are shown, the most frequent first."""
TITLES = {
    "likely_wrong_label": "Likely wrong labels",
    "mislabeled_candidate": "Where the classifier is sure of another label",
    "near_duplicate": "Near-duplicates",
    "outlier": "Unlike their label",
    "overlapping_boxes": "Boxes over one another with different labels",
    "impossible_time": "Times that cannot be",
    "label_of_one_place": "Labels that one place makes up",
    "label_of_one_sequence": "Labels that one sequence makes up",
    "extreme_split": "Labels that the splits share out badly",
    "mostly_padding": "Nearly all padding",
}


@dataclass
class Shown:
    """A crop in a gallery; `picture` is a data URI, empty where it cannot be shown or the page is full."""

    crop_id: str
    label: str
    split: str
    location: str
    evidence: str = ""
    picture: str = ""


@dataclass
class Gallery:
    """Crops that belong together.

    Args:
        number: All of them, shown or not.
        anchor: The section's id: made of its place, never of a name from outside.
    """

    title: str
    anchor: str
    number: int
    shown: list[Shown] = field(default_factory=list)


def page(
    examples: pl.DataFrame, splits: pl.DataFrame | None, issues: pl.DataFrame, crops_dir: Path | Place, *,
    project: str, wished: Mapping[str, float],
) -> str:  # fmt: skip
    """The page.

    Args:
        examples: EXAMPLES rows.
        splits: SPLITS rows; None before there are any.
        issues: ISSUES rows.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.
        project: Its name.
        wished: Split -> the fraction it was to have.
    """
    crops = _known(examples, splits)
    kinds, labels = _of_kinds(crops, issues), _of_labels(crops)
    _fill(kinds + labels, crops_dir)
    looked = issues["crop_id"].n_unique()
    return environment().get_template("inspection.html.j2").render(
        project=project,
        crops=examples.height,
        places=crops["location"].n_unique(),
        looked=looked,
        kinds=kinds,
        labels=labels,
        unshown_labels=max(crops["label"].n_unique() - MOST_LABELS, 0),
        split_names=[name for name, share in wished.items() if share > 0],
        wished=wished,
        rows=_split_rows(crops, wished) if splits is not None else [],
    )  # fmt: skip


def _known(examples: pl.DataFrame, splits: pl.DataFrame | None) -> pl.DataFrame:
    """crop_id, label (several joined), split and location of every example; "" for what is not known."""
    split = splits.select("group_id", "split") if splits is not None else None
    found = examples.join(split, on="group_id", how="left") if split is not None else examples
    known = found.select(
        "crop_id",
        label=pl.col("labels").list.join(", "),
        split=pl.col("split") if split is not None else pl.lit(None, dtype=pl.String),
        location=pl.coalesce("location_id", "group_id"),
    )
    return known.with_columns(pl.col("label", "split", "location").fill_null("")).sort("crop_id")


def _of_kinds(crops: pl.DataFrame, issues: pl.DataFrame) -> list[Gallery]:
    """A gallery per kind, in the order of TITLES, then by name; the worst first."""
    rank = {kind: number for number, kind in enumerate(TITLES)}
    kinds = sorted(issues["kind"].unique(), key=lambda kind: (rank.get(kind, len(rank)), kind))
    found = []
    for number, kind in enumerate(kinds):
        rows = issues.filter(pl.col("kind") == kind).sort(["score", "crop_id"], descending=[True, False])
        first = rows.head(PER_KIND).join(crops, on="crop_id", how="left", maintain_order="left")
        title = TITLES.get(str(kind), str(kind).replace("_", " ").capitalize())
        found.append(Gallery(title, f"kind-{number}", rows.height, _shown(first)))
    return found


def _of_labels(crops: pl.DataFrame) -> list[Gallery]:
    """A gallery per label, the most frequent first: its crops, each of another location where there is one."""
    counts = crops.group_by("label").agg(n=pl.len()).sort(["n", "label"], descending=[True, False]).head(MOST_LABELS)
    drawn = crops.sample(fraction=1, shuffle=True, seed=0) if crops.height else crops
    turns = drawn.with_columns(turn=pl.int_range(pl.len()).over("label", "location")).sort("turn", maintain_order=True)
    chosen = (
        turns.group_by("label", maintain_order=True).head(PER_LABEL).drop("turn").partition_by("label", as_dict=True)
    )
    return [
        Gallery(label, f"label-{number}", n, _shown(chosen[(label,)].sort("location", "crop_id")))
        for number, (label, n) in enumerate(counts.iter_rows())
    ]


def _shown(rows: pl.DataFrame) -> list[Shown]:
    names = [name for name in ("crop_id", "label", "split", "location", "evidence") if name in rows.columns]
    return [Shown(**row) for row in rows.select(pl.col(names).fill_null("")).iter_rows(named=True)]


def _turns(galleries: Sequence[Gallery]) -> Iterator[Shown]:
    for turn in range(max((len(gallery.shown) for gallery in galleries), default=0)):
        yield from (gallery.shown[turn] for gallery in galleries if turn < len(gallery.shown))


def _fill(galleries: Sequence[Gallery], crops_dir: Path | Place) -> None:
    """Give crops their pictures, turn by turn, until the page is full. A crop that is shown again takes room again."""
    issues = [gallery for gallery in galleries if gallery.anchor.startswith("kind-")]
    samples = [gallery for gallery in galleries if not gallery.anchor.startswith("kind-")]
    wanted = [*_turns(issues), *_turns(samples)]
    held = 0
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        pictures = pool.map(lambda crop: thumbnail(crops_dir, crop.crop_id, PICTURE_PX, QUALITY), wanted)
        for crop, picture in zip(wanted, pictures, strict=True):
            if picture is None:
                continue
            held += len(picture.base64)
            if held > PICTURE_BYTES:
                break
            crop.picture = f"data:image/jpeg;base64,{picture.base64}"


def _split_rows(crops: pl.DataFrame, wished: Mapping[str, float]) -> list[tuple[str, list[dict[str, object]]]]:
    """Of every label: per split its crops, share and whether that is extreme."""
    table = split_table(crops.filter(pl.col("split") != ""), wished)
    found = table.partition_by("label", as_dict=True, maintain_order=True)
    return [(str(label), rows.rows(named=True)) for (label,), rows in found.items()]
