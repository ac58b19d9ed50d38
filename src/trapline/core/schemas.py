"""The declared schema of every table (DESIGN.md section 4), checked where a table is written."""

from dataclasses import dataclass

import polars as pl

from trapline.core.errors import TraplineError
from trapline.core.keys import all_differ

TEXT, INT, REAL, BOOL = pl.String, pl.Int64, pl.Float64, pl.Boolean
TIME = pl.Datetime("us")  # the camera's own clock: local time, as hour of day and bursts need it


@dataclass(frozen=True)
class Schema:
    """Columns of a table in order, its key, and the columns that may not be null (the key included)."""

    name: str
    key: tuple[str, ...]
    columns: dict[str, type[pl.DataType] | pl.DataType]
    required: tuple[str, ...] = ()

    def empty(self) -> pl.DataFrame:
        """A table of this schema without rows."""
        return pl.DataFrame(schema=self.columns)

    def check(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame` with its columns in the declared order.

        Raises:
            TraplineError: Missing, extra or mistyped columns, a null in a required one, or a key that repeats.
        """
        problems = [f"column {name} is missing" for name in self.columns if name not in frame.columns]
        problems += [f"column {name} is not declared" for name in frame.columns if name not in self.columns]
        if not problems:
            frame = frame.select(list(self.columns))
            problems += [
                f"column {name} is {found}, declared {self.columns[name]}"
                for name, found in frame.schema.items()
                if not _fits(found, self.columns[name])
            ]
            required = [name for name in self.columns if name in (*self.key, *self.required)]
            problems += [f"column {name} holds {n} nulls" for name in required if (n := frame[name].null_count())]
            if not problems and self.key and not all_differ(frame.select(self.key)):
                problems.append(f"key {', '.join(self.key)} repeats")
        if problems:
            raise TraplineError(f"table {self.name} breaks its schema (a bug in trapline): " + "; ".join(problems))
        return frame


def _fits(found: pl.DataType, declared: type[pl.DataType] | pl.DataType) -> bool:
    """Arrays are declared without a width (it depends on the model): any width of the right inner type fits."""
    if declared == pl.Array:
        return isinstance(found, pl.Array) and found.inner == pl.Float32
    return found == declared


IMAGES = Schema(
    "images",
    ("image_id",),
    {
        "image_id": TEXT,
        "dataset": TEXT,
        "file_name": TEXT,
        "uri": TEXT,
        "width_px": INT,
        "height_px": INT,
        "captured_at": TIME,
        "utc_offset": TEXT,  # of captured_at, as the source writes it ("-07:00", "Z"); null where it does not
        "location_id": TEXT,
        "camera_id": TEXT,
        "deployment_id": TEXT,
        "sequence_id": TEXT,
    },
    required=("dataset", "file_name"),
)

LOCATIONS = Schema(
    "locations",
    ("dataset", "location_id"),
    {
        "dataset": TEXT,
        "location_id": TEXT,
        "camera_id": TEXT,
        "latitude": REAL,
        "longitude": REAL,
        "region": TEXT,
    },
)

BOXES = Schema(
    "boxes",
    ("box_id",),
    {
        "box_id": TEXT,
        "image_id": TEXT,
        "box_x": REAL,
        "box_y": REAL,
        "box_w": REAL,
        "box_h": REAL,
        "unit": TEXT,  # fraction | px
        "frame": TEXT,  # displayed | raw | auto
        "source": TEXT,  # human, or a detector's name
        "conf": REAL,  # null for a person's box
    },
    required=("image_id", "box_x", "box_y", "box_w", "box_h", "unit", "frame", "source"),
)

LABELS = Schema(
    "labels",
    (),
    {
        "image_id": TEXT,
        "box_id": TEXT,  # null: the whole image
        "source_label": TEXT,
        "conf": REAL,
        "validated": BOOL,
        "validated_by": TEXT,
        "sequence_level": BOOL,
    },
    required=("image_id", "source_label", "sequence_level"),
)

FILES = Schema(
    "files",
    ("image_id",),
    {
        "image_id": TEXT,
        "path": TEXT,  # relative to the project where it lies inside it, else absolute
        "bytes": INT,
        "checksum": TEXT,  # stands for the content: of a fetched file as its store tells it, else size and time
        "width_px": INT,  # as stored, before EXIF orientation; of fetched files (null for those found in a folder)
        "height_px": INT,
        "orientation": INT,  # EXIF, 1 to 8
        "failure": TEXT,
    },
)

CROPS = Schema(
    "crops",
    ("crop_id",),
    {
        "crop_id": TEXT,  # <dataset>/<image file>___cropNN.jpg, the crop's path below crops/
        "box_id": TEXT,
        "image_id": TEXT,
        "path": TEXT,  # null where the crop failed
        "width_px": INT,
        "height_px": INT,
        "infrared": BOOL,  # the crop holds no colour
        "frame_unclear": BOOL,  # whether the box follows the EXIF orientation could not be told; taken as displayed
        "checksum": TEXT,  # of the crop's bytes: what features and scores of it depend on
        "frame_hash": TEXT,  # perceptual hash of the whole image (core/hashing.py); null where it is flat
        "failure": TEXT,
    },
    required=("box_id", "image_id"),
)

EXAMPLES = Schema(
    "examples",
    ("crop_id",),
    {
        "crop_id": TEXT,
        "labels": pl.List(pl.String),
        "image_id": TEXT,
        "dataset": TEXT,
        "location_id": TEXT,
        "camera_id": TEXT,
        "deployment_id": TEXT,
        "infrared": BOOL,
        "group_id": TEXT,
        "sequence_id": TEXT,
        "captured_at": TIME,
        "weight": REAL,
        "heldback": BOOL,
    },
    required=("labels", "image_id", "dataset", "group_id", "weight", "heldback"),
)

SPLITS = Schema("splits", ("group_id",), {"group_id": TEXT, "split": TEXT, "fold": INT}, required=("split",))

LEAKS = Schema(
    "leaks",
    ("image_id", "other_image_id"),
    {
        "image_id": TEXT,
        "other_image_id": TEXT,
        "group_id": TEXT,
        "other_group_id": TEXT,
        "split": TEXT,
        "other_split": TEXT,
        "distance": INT,  # differing bits of the two frame hashes, of 256
    },
    required=("group_id", "other_group_id", "split", "other_split", "distance"),
)

EMBEDDINGS = Schema(
    "embeddings", ("crop_id",), {"crop_id": TEXT, "model": TEXT, "embedding": pl.Array}, required=("model",)
)

PREDICTIONS = Schema(
    "predictions", ("crop_id",), {"crop_id": TEXT, "scores": pl.Array, "failure": TEXT}
)  # scores: softmax probabilities in the checkpoint's label order; null where the crop could not be read

DETECTION_SCORES = Schema(
    "detection_scores",
    (),  # file and detection, where there is a detection
    {
        "file": TEXT,  # the image's name, as the detections file or the folder has it
        "detection": INT,  # index into its detections; 0 for a whole image or a ready crop; null: no box to classify
        "image_id": TEXT,  # of a project's images; null where there is no project
        "location_id": TEXT,
        "sequence_id": TEXT,
        "captured_at": TIME,
        "box_x": REAL,  # fractions of the displayed image; null for a ready crop
        "box_y": REAL,
        "box_w": REAL,
        "box_h": REAL,
        "conf": REAL,  # the detector's; null for a person's box or a whole image
        "scores": pl.Array,  # calibrated probabilities in the checkpoint's label order; null where not read
        "failure": TEXT,  # why the box (or, without a detection, the image) could not be classified
    },
    required=("file",),
)  # a row per classified box; an image without one is a row too, so that every image is there

# What decide makes of those (docs/decisions.md).
ANSWERS = Schema(
    "answers",
    (),  # file and detection, where there is a detection
    {
        "file": TEXT,
        "detection": INT,
        "location_id": TEXT,
        "sequence_id": TEXT,  # as given, or the first file of the burst
        "captured_at": TIME,
        "box_x": REAL,
        "box_y": REAL,
        "box_w": REAL,
        "box_h": REAL,
        "detection_conf": REAL,
        "answer": TEXT,  # of the box in its sequence: a label, a taxon or unsure; null where it was not classified
        "level": TEXT,  # label, the taxon's level, or "" for unsure
        "confidence": REAL,  # the answer's probability; of unsure that of its likeliest label
        "box_answer": TEXT,  # of the box alone
        "box_level": TEXT,
        "box_confidence": REAL,
        "likeliest": TEXT,  # the label with the highest probability for the box alone
        "likeliest_confidence": REAL,
        "removed": REAL,  # probability that labels had which are not allowed here; null without a list
        "unlike": BOOL,  # unlike anything in training; null where that was not measured
        "needs_person": BOOL,
        "failure": TEXT,
    },
    required=("file",),
)

SEQUENCE_ANSWERS = Schema(
    "sequence_answers",
    ("sequence_id",),
    {
        "sequence_id": TEXT,
        "location_id": TEXT,
        "start": TIME,
        "end": TIME,
        "images": INT,  # with a box that was classified
        "boxes": INT,
        "answer": TEXT,  # by all its boxes together
        "level": TEXT,
        "confidence": REAL,
        "agreement": REAL,  # share of boxes whose own likeliest label is the sequence's
        "others": TEXT,  # answers of boxes that are sure of something else, joined by "; "; "" for none
        "most_at_once": INT,  # boxes in one image, at most
    },
    required=("images", "boxes", "answer", "confidence"),
)

REVIEW = Schema(
    "review",
    ("rank",),
    {
        "rank": INT,  # 1: look at this first
        "file": TEXT,
        "detection": INT,
        "box_x": REAL,
        "box_y": REAL,
        "box_w": REAL,
        "box_h": REAL,
        "label": TEXT,  # the likeliest
        "conf": REAL,  # its probability
        "reason": TEXT,  # why a person should look
        "gain": REAL,  # what looking is worth; only the order means something
    },
    required=("file", "label", "conf", "reason", "gain"),
)

COUNTS = Schema(
    "counts",
    (),  # location_id, date, label and level
    {
        "location_id": TEXT,
        "date": pl.Date,  # null where the time is not known
        "label": TEXT,  # a label, a taxon or unsure
        "level": TEXT,
        "events": INT,
        "sequences": INT,
        "images": INT,
        "boxes": INT,
        "most_at_once": INT,
    },
    required=("label", "events", "sequences", "images", "boxes", "most_at_once"),
)

METRICS = Schema(
    "metrics",
    ("checkpoint_id", "split", "label", "group_kind", "group_value", "name"),
    {
        "checkpoint_id": TEXT,
        "split": TEXT,
        "label": TEXT,  # "" for all labels; of group_kind level, a taxon
        "group_kind": TEXT,  # "" for all crops; else location, camera, hour, light, level or unit (docs/evaluate.md)
        "group_value": TEXT,
        "name": TEXT,
        "value": REAL,
        "low": REAL,
        "high": REAL,
        "support": INT,
        "reason": TEXT,  # why value, or its interval, is null
    },
)

# What evaluate writes into a run's folder, beside METRICS (docs/evaluate.md).
SCORED = Schema(
    "scored",
    ("crop_id",),
    {
        "crop_id": TEXT,
        "split": TEXT,  # train, seen, val or test
        "group_id": TEXT,
        "location": TEXT,  # as figures name it: of several datasets, <dataset>/<location_id>
        "camera": TEXT,
        "hour": INT,  # 0 to 23 by the camera's clock; null where the time is not known
        "light": TEXT,  # day or infrared; null where not known
        "sequence": TEXT,  # unique in the project; null where the crop is of no sequence
        "label": TEXT,  # the true one
        "predicted": TEXT,  # the one with the highest score
        "score": REAL,  # its score
        "true_score": REAL,  # the true label's score
        "rank": INT,  # labels that score above the true one: 0 is named right
        "calibrated": TEXT,  # the label with the highest calibrated score
        "confidence": REAL,  # its calibrated score
        "automatic": BOOL,  # the confidence reaches that label's threshold: no person need look
        "sequence_predicted": TEXT,  # the label of the whole sequence (of the crop, where it is of none)
        "sequence_confidence": REAL,
    },
    required=("split", "group_id", "location", "label", "predicted", "score", "true_score", "rank"),
)

RELIABILITY = Schema(
    "reliability",
    ("split", "scores", "bin"),
    {
        "split": TEXT,
        "scores": TEXT,  # raw or calibrated
        "bin": INT,  # 0 to 14: confidence from bin / 15 to (bin + 1) / 15; bins without crops are not listed
        "crops": INT,
        "confidence": REAL,  # mean of the bin's crops
        "accuracy": REAL,
        "low": REAL,
        "high": REAL,
        "reason": TEXT,  # why there is no interval
    },
    required=("crops", "confidence", "accuracy"),
)

THRESHOLDS = Schema(
    "thresholds",
    ("split", "label"),
    {
        "split": TEXT,  # val, where thresholds are chosen; test and the others, where they are tried
        "label": TEXT,  # "" for all labels together
        "wished": REAL,  # the precision to reach
        "threshold": REAL,  # least confidence; null where the label never reaches the precision, and for ""
        "named": INT,  # crops whose calibrated label is this one ("": all crops)
        "kept": INT,  # those of them at or above the threshold
        "precision": REAL,  # share of kept that are right
        "precision_low": REAL,
        "precision_high": REAL,
        "coverage": REAL,  # kept / named: of "", the share of crops that need no person
        "coverage_low": REAL,
        "coverage_high": REAL,
        "reason": TEXT,  # why threshold or a figure is null
    },
    required=("wished", "named", "kept"),
)

THRESHOLD_CURVES = Schema(
    "threshold_curves",
    ("split", "label", "threshold"),
    {
        "split": TEXT,  # val or test
        "label": TEXT,  # the calibrated label; "" for all together
        "threshold": REAL,  # 0, 0.01, ... 0.99, 1
        "kept": INT,  # crops named so with at least that confidence; at threshold 0 all that are named so
        "right": INT,  # those of them that are named right: precision is right / kept
    },
    required=("kept", "right"),
)

# What inspect writes (docs/inspect.md).
ISSUES = Schema(
    "issues",
    ("crop_id", "kind"),
    {
        "crop_id": TEXT,
        "kind": TEXT,  # one of core/issues: likely_wrong_label, near_duplicate, ...
        "evidence": TEXT,  # why, in words a person can check
        "score": pl.Float32,  # 0 to 1; 1 is most worth a look
    },
    required=("evidence", "score"),
)

TABLES = {
    schema.name: schema
    for schema in (
        IMAGES,
        LOCATIONS,
        BOXES,
        LABELS,
        FILES,
        CROPS,
        EXAMPLES,
        SPLITS,
        LEAKS,
        EMBEDDINGS,
        PREDICTIONS,
        METRICS,
        ISSUES,
    )
}
READY_CROP = "ready-made crop"  # source of a box that is all of a picture that was cropped before
NO_PICTURE = "no picture was given"  # failure of a ready-made crop that is known by name only: enough to split
SPLIT_NAMES = ("train", "val", "test")
