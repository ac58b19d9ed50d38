"""Reading MegaDetector results JSON, versions 1.0 to 1.6, and the labels that the reference chain writes in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from trapline.formats.annotations import IMAGE_COLUMNS, OBJECT_COLUMNS, Annotations, complete
from trapline.formats.json_file import Pieces

ANIMAL = "animal"
NOT_ANIMALS = {"person": "person", "human": "person", "people": "person", "vehicle": "vehicle", "car": "vehicle"}
TYPICAL_THRESHOLD = 0.2  # what MegaDetector's authors call typical for version 5, the most used
VIDEO = r"(?i)\.(mp4|avi|mpe?g|mov|mkv|flv|m4v|wmv)$"

Id = str | int
Number = int | float
NO_BOX = (None, None, None, None)


class _Detection(msgspec.Struct, gc=False):
    category: Id
    conf: float | None = None
    bbox: list[float] | None = None
    classifications: list[tuple[Id, float | None]] | None = None
    id: Id | None = None


class _Image(msgspec.Struct, gc=False):
    file: str
    detections: list[_Detection] | None = None
    failure: str | None = None
    id: Id | None = None
    location: Id | None = None
    datetime: str | None = None
    width: Number | None = None
    height: Number | None = None
    seq_id: Id | None = None
    unlabelled: bool = False


class _DetectorFacts(msgspec.Struct):
    typical_detection_threshold: Number | None = None


class _Info(msgspec.Struct):
    detector: str | None = None
    detection_completion_time: str | None = None
    detector_metadata: _DetectorFacts | None = None


_ARRAYS = {"images": msgspec.json.Decoder(list[_Image])}
_VALUES = {
    "info": msgspec.json.Decoder(_Info | None),
    "detection_categories": msgspec.json.Decoder(dict[str, str]),
    "classification_categories": msgspec.json.Decoder(dict[str, str] | None),
}
HINT = "It is an object with info, detection_categories and images."

RESULT_COLUMNS = {
    "file": pl.String,
    "failure": pl.String,
    "id": pl.String,
    "location": pl.String,
    "captured": pl.String,
    "width_px": pl.Int64,
    "height_px": pl.Int64,
    "sequence": pl.String,
    "unlabelled": pl.Boolean,
}
DETECTION_COLUMNS = {
    "file": pl.String,
    "number": pl.Int64,
    "category": pl.String,
    "conf": pl.Float64,
    "box_x": pl.Float64,
    "box_y": pl.Float64,
    "box_w": pl.Float64,
    "box_h": pl.Float64,
    "label": pl.String,
    "label_conf": pl.Float64,
    "id": pl.String,
}


@dataclass(frozen=True)
class MdResults:
    """One results file.

    Args:
        images: A row per image (RESULT_COLUMNS): `file` with forward slashes, `failure` where the detector could not
            read it; id, location, captured, size and sequence where the producer states them; `unlabelled` where
            trapline wrote the file and nobody had labelled the image.
        detections: A row per detection and classification kept (DETECTION_COLUMNS): `number` counts the detections of
            a file from 0; `category` is the detection category's name, null where its id is not listed; the box is in
            fractions of the displayed image; `label` the classifications of the highest score, null where there are
            none (several rows of one detection where several share that score).
        detector: Its name, or "".
        typical_threshold: What the file calls its detector's typical threshold, or None.
        created: When detection ended, as the file says, or "".
        cut: Where the file ended too early, or None; what came before is whole.
    """

    images: pl.DataFrame
    detections: pl.DataFrame
    detector: str
    typical_threshold: float | None
    created: str
    cut: str | None = None


def read(path: Path) -> MdResults:
    """Read a results file.

    Raises:
        InputError: It is missing, not JSON, or not MegaDetector results; names the file and the JSON path.
    """
    pieces = Pieces(path, _ARRAYS, _VALUES, "a MegaDetector results file", HINT)
    images, detections, values = [], [], {}
    for key, piece in pieces:
        if key == "images":
            images.append(_images(piece))
            detections.append(_detections(piece))
        else:
            values[key] = piece
    missing = [key for key in ("images", "detection_categories") if not (images if key == "images" else key in values)]
    if missing:
        cut = f"; it ends too early, in {pieces.cut}" if pieces.cut else ""
        raise pieces.unexpected(f"Object missing required field `{missing[0]}`{cut}")
    info = values.get("info") or _Info()
    facts = info.detector_metadata or _DetectorFacts()
    listed = pl.concat(images).unique("file", keep="first", maintain_order=True)
    return MdResults(
        images=listed,
        detections=_named(pl.concat(detections), values),
        detector=(info.detector or "").strip(),
        typical_threshold=None if (found := facts.typical_detection_threshold) is None else float(found),
        created=info.detection_completion_time or "",
        cut=pieces.cut,
    )


def read_annotations(path: Path) -> Annotations:
    """A results file as annotations.

    Three kinds of files share this format, and a label is what the file says it is:
    - the reference chain's conversions (`detector` cct_to_md) and trapline's own (`human`): boxes drawn by people; the
      label is the classification, or the detection category where species stand there;
    - classified results: a machine's label of the classification's score, not validated;
    - detections alone: an animal's box has no label, to be paired with labels from elsewhere (core/pairing.py); of a
      person or vehicle the category is the machine's label.
    """
    results = read(path)
    by_people = results.detector in ("human", "cct_to_md")
    videos = results.images.filter(pl.col("file").str.contains(VIDEO)).height
    failed = results.images["failure"].count()
    images = results.images.filter(~pl.col("file").str.contains(VIDEO))
    names = images.select("file", image=pl.coalesce("id", "file"))
    category = pl.col("category").str.strip_chars().str.to_lowercase()
    is_species = ~category.is_in([ANIMAL, *NOT_ANIMALS]) & (category != "")
    told = pl.coalesce(
        pl.when(is_species).then(pl.col("category").str.strip_chars()),
        category.replace_strict(NOT_ANIMALS, default=None),
    )
    detections = results.detections.join(names, on="file", maintain_order="left").with_columns(
        source_label=pl.coalesce("label", told)
    )
    machine = pl.col("source_label").is_not_null()
    objects = detections.select(
        "image",
        "source_label",
        "box_x",
        "box_y",
        "box_w",
        "box_h",
        source_id="id" if by_people else pl.lit(None, pl.String),
        unit=pl.lit("fraction"),
        frame=pl.lit("displayed"),
        source=pl.lit("human" if by_people else detector_slug(results.detector)),
        box_conf=pl.lit(None, pl.Float64) if by_people else pl.col("conf"),
        conf=pl.lit(None, pl.Float64) if by_people else pl.when(machine).then(pl.coalesce("label_conf", "conf")),
        validated=pl.lit(None, pl.Boolean) if by_people else pl.when(machine).then(pl.lit(False)),
        validated_by=pl.lit(None, pl.String),
        problem=pl.when(pl.col("category").is_null())
        .then(pl.lit("with an unknown category id"))
        .when(pl.col("box_x").is_null())
        .then(pl.lit("without a box")),
    )
    # An image in which people found no object is empty; one in which a detector found none is not known to be.
    if by_people:
        looked_at = pl.col("failure").is_null() & ~pl.col("unlabelled")
        none = images.filter(looked_at).join(detections.select("file"), on="file", how="anti")
        empties = none.select(image=pl.coalesce("id", "file"), source_label=pl.lit("empty"))
        objects = pl.concat([objects, empties], how="diagonal")
    notes = []
    if results.cut:
        notes.append(f"the file ends too early, in {results.cut}; {images.height:,} whole images were recovered.")
    typical = results.typical_threshold
    if not by_people and typical is not None and typical != TYPICAL_THRESHOLD:
        notes.append(
            f"its detector's typical threshold is {typical}; detections are paired with labels from "
            f"`ingest: detection_threshold` on, {TYPICAL_THRESHOLD} unless you say otherwise."
        )
    if videos:
        notes.append(f"{videos} videos are left out: trapline reads images. Extract their frames first.")
    if failed:
        first = results.images.filter(pl.col("failure").is_not_null()).row(0, named=True)
        notes.append(
            f"the detector failed on {failed} images (first: {first['file']}: {first['failure']}); they have no boxes."
        )
    return Annotations(
        images=complete(
            images.select(
                "location", "captured", "width_px", "height_px", "sequence",
                source_id=pl.coalesce("id", "file"), file_name="file",
            ),
            IMAGE_COLUMNS,
        ),
        objects=complete(objects, OBJECT_COLUMNS),
        created=results.created,
        notes=tuple(notes),
        detections=not by_people,
    )  # fmt: skip


def detector_slug(name: str) -> str:
    """A detector's name as crops' names carry it: `md_v5a.0.0.pt` is mdv5a.0, others keep letters, digits, `.`, `-`."""
    version = re.fullmatch(r"(?i)(?:megadetector|md)[_ -]?v?(\d+[a-z]?)(?:\.(\d+))?[\d.]*(?:\.pt)?", name.strip())
    if version:
        return f"mdv{version[1].lower()}.{version[2] or 0}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "detector"


def _images(records: list[_Image]) -> pl.DataFrame:
    def text(values: list[Id | None]) -> list[str | None]:
        return [None if value is None or value == "" else str(value) for value in values]

    def pixels(values: list[Number | None]) -> list[int | None]:
        return [int(value) if value is not None and 1 <= value < 2**31 else None for value in values]

    return pl.DataFrame(
        {
            "file": [forward(r.file) for r in records],
            "failure": [r.failure for r in records],
            "id": text([r.id for r in records]),
            "location": text([r.location for r in records]),
            "captured": [r.datetime for r in records],
            "width_px": pixels([r.width for r in records]),
            "height_px": pixels([r.height for r in records]),
            "sequence": text([r.seq_id for r in records]),
            "unlabelled": [r.unlabelled for r in records],
        },
        schema=RESULT_COLUMNS,
    )


def _detections(records: list[_Image]) -> pl.DataFrame:
    """DETECTION_COLUMNS with category and label still as ids: names may come at the end of the file."""
    rows = [
        (forward(image.file), number, found, label, score)
        for image in records
        for number, found in enumerate(image.detections or ())
        for label, score in _best(found.classifications or ())
    ]
    boxes = [row[2].bbox if row[2].bbox and len(row[2].bbox) == 4 else NO_BOX for row in rows]
    sides = {f"box_{side}": pl.Series([box[n] for box in boxes], dtype=pl.Float64) for n, side in enumerate("xywh")}
    return pl.DataFrame(
        {
            "file": [row[0] for row in rows],
            "number": [row[1] for row in rows],
            "category": [str(row[2].category) for row in rows],
            "conf": pl.Series([row[2].conf for row in rows], dtype=pl.Float64),
            **sides,
            "label": [row[3] for row in rows],
            "label_conf": pl.Series([row[4] for row in rows], dtype=pl.Float64),
            "id": [None if row[2].id is None else str(row[2].id) for row in rows],
        },
        schema=DETECTION_COLUMNS,
    )


def _best(scored: list[tuple[Id, float | None]] | tuple[()]) -> list[tuple[str | None, float | None]]:
    """The classifications of the highest score; one (None, None) where there are none."""
    if not scored:
        return [(None, None)]
    best = max(score or 0.0 for _, score in scored)
    return [(str(key), score) for key, score in scored if (score or 0.0) == best]


def _named(detections: pl.DataFrame, values: Mapping[str, dict[str, str]]) -> pl.DataFrame:
    """Ids of categories and classifications as names, null where they are not listed; a file's first listing only."""
    labels = {key: name.strip() or None for key, name in (values.get("classification_categories") or {}).items()}
    named = detections.with_columns(
        category=pl.col("category").replace_strict(
            values["detection_categories"], default=None, return_dtype=pl.String
        ),
        label=pl.col("label").replace_strict(labels, default=None, return_dtype=pl.String)
        if labels
        else pl.lit(None, pl.String),
    )
    named = named.with_columns(label_conf=pl.when(pl.col("label").is_not_null()).then("label_conf"))
    # A file that is listed twice counts from 0 twice.
    first = (pl.col("file") != pl.col("file").shift(1)).fill_null(True) | (pl.col("number") < pl.col("number").shift(1))
    listing = pl.when(first).then(pl.int_range(pl.len())).otherwise(None).forward_fill()
    named = named.with_columns(listing=listing)
    return named.filter(pl.col("listing") == pl.col("listing").first().over("file")).drop("listing")


def forward(file: str) -> str:
    """Forward slashes, without `./`: Windows tools write backslashes though the format forbids them."""
    return re.sub(r"/{2,}", "/", file.replace("\\", "/")).removeprefix("./")
