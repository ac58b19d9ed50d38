"""Valid exports of every odd kind: through the command line, and through every stage that needs no pixels.

Names in any script, ids as numbers, boxes anywhere, missing sizes, one label or none, one place or none. None of it may
end in anything but a result, or an error that says what to do.
"""

import json
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trapline.cli import run_command
from trapline.core import schemas
from trapline.core.config import DatasetConfig, IngestConfig, SplitConfig
from trapline.core.errors import TraplineError
from trapline.core.log import Log
from trapline.formats import ms_classification
from trapline.stages.dataset import dataset, label_counts
from trapline.stages.ingest import AnnotationFile, ingest
from trapline.stages.split import split

ODD = "aA0 .,;:'\"%#&<>()[]{}$!~^+=@_-/\\|éßИ猫\u0301\u200f🦊"
WORDS = st.one_of(
    st.sampled_from(
        ["fox", "Fox", "red fox", "empty", "person", "vehicle", "animal", "None", "NaN", "null", "0", "=1+1"]
    ),
    st.text(ODD, min_size=1, max_size=12),
)
FILES = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem]) + suffix,
    st.lists(st.text(ODD.replace("/", "").replace("\\", ""), min_size=1, max_size=6), max_size=3),
    st.text(ODD.replace("/", "").replace("\\", ""), min_size=1, max_size=8),
    st.sampled_from([".jpg", ".JPG", ".jpeg", ".png", "", ".JPG.jpg"]),
)
PIXELS = st.one_of(st.integers(0, 640), st.integers(-50, 5000), st.floats(-10, 700, allow_nan=False))
TIMES = st.sampled_from(
    [None, "2024-01-13T07:46:00.000-07:00", "2024-01-13 07:46:00", "2024:01:13 07:46:00", "01/13/2024 7:46", "", "noon"]
)
IDS = st.one_of(st.integers(0, 10**6), st.text("abc0:-é ", min_size=1, max_size=8))


@st.composite
def exports(draw: st.DrawFn) -> dict:
    """A valid CCT file."""
    names = draw(st.lists(WORDS, min_size=1, max_size=5))
    ids = draw(st.lists(IDS, min_size=1, max_size=9, unique_by=str))
    places = draw(st.lists(st.one_of(st.none(), IDS, WORDS), min_size=1, max_size=4))
    images = []
    for id in ids:
        image = {"id": id, "file_name": draw(FILES), "location": draw(st.sampled_from(places)), "datetime": draw(TIMES)}
        if draw(st.booleans()):
            image |= {"width": draw(st.sampled_from([640, 640.0, 1, 20000])), "height": 480}
        if draw(st.booleans()):
            image |= {"seq_id": draw(IDS), "frame_num": 1}
        images.append({key: value for key, value in image.items() if value is not None})
    annotations = []
    for n in range(draw(st.integers(0, 12))):
        item = {"id": n, "image_id": draw(st.sampled_from(ids)), "category_id": draw(st.integers(0, len(names) - 1))}
        if draw(st.integers(0, 3)):
            item["bbox"] = draw(st.one_of(st.lists(PIXELS, min_size=4, max_size=4), st.just([None] * 4)))
        if draw(st.booleans()):
            item |= {"validated": draw(st.booleans()), "confidence": draw(st.sampled_from([None, 0.5, 1.0]))}
        annotations.append(item)
    categories = [{"id": n, "name": name} for n, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def through_the_stages(path: Path, options: dict) -> None:
    """Ingest, dataset and split, every box taken for a crop; tables are checked, and the field's files written."""
    log = Log()
    found = ingest([AnnotationFile("islands", path)], IngestConfig(), log=log)
    for name in ("images", "locations", "boxes", "labels"):
        schemas.TABLES[name].check(getattr(found, name))
    crops = found.boxes.select("box_id", "image_id", crop_id="box_id", path="box_id")
    bare = [name for name in schemas.CROPS.columns if name not in crops.columns]
    crops = crops.with_columns(pl.lit(None, schemas.CROPS.columns[name]).alias(name) for name in bare)
    none = pl.DataFrame(schema={"box_id": pl.String, "action": pl.String, "to": pl.String})
    examples = dataset(found.images, crops, found.labels, none, DatasetConfig(**options), log=log)
    schemas.TABLES["examples"].check(examples)
    splits = split(examples, SplitConfig(draws=20, prove=0, method="random"), log=log)
    schemas.TABLES["splits"].check(splits)
    assert set(splits["group_id"]) == set(examples["group_id"])
    folder = path.parent / "dataset"
    confidence = ms_classification.confidence(crops, found.labels, found.boxes)
    ms_classification.write_dataset_csv(folder / "classification_ds.csv", examples, confidence)
    ms_classification.write_label_index(folder / "label_index.json", label_counts(examples)["label"].to_list())
    ms_classification.write_splits(folder / "splits.json", examples, splits)
    ms_classification.read_all_splits(folder / "splits.json")


OPTIONS = st.fixed_dictionaries(
    {
        "group_by": st.sampled_from(["camera", "location", "deployment"]),
        "rare": st.sampled_from(["keep", "drop", "other"]),
        "max_per_label": st.sampled_from([0, 2]),
    }
)
TARGETS = st.sampled_from(["cct", "md", "queried-images", "csv", "camtrap-dp"])


def feed(folder: Path, examples: int, capsys, *, through_cli: bool) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(export=exports(), options=OPTIONS, to=TARGETS)
    def fed(export, options, to):
        path = folder / "export.json"
        path.write_text(json.dumps(export))
        if through_cli:
            code = run_command(["convert", str(path), "--to", to, "-o", str(folder / f"{to}.out"), "--overwrite"])
            text = "".join(capsys.readouterr())
            assert code in (0, 2), text
            assert "Traceback" not in text
        else:
            with suppress(TraplineError):
                through_the_stages(path, options)

    fed()


@pytest.mark.parametrize("through_cli", [False, True], ids=["stages", "command line"])
def test_valid_variants(tmp_path, capsys, through_cli):
    feed(tmp_path, 60, capsys, through_cli=through_cli)


@pytest.mark.slow
@pytest.mark.parametrize("through_cli", [False, True], ids=["stages", "command line"])
def test_a_thousand_valid_variants(tmp_path, capsys, through_cli):
    feed(tmp_path, 500, capsys, through_cli=through_cli)


@pytest.mark.soak
@pytest.mark.parametrize("through_cli", [False, True], ids=["stages", "command line"])
def test_ten_thousand_valid_variants(tmp_path, capsys, through_cli):
    feed(tmp_path, 5_000, capsys, through_cli=through_cli)
