import sys
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from PIL import Image

from trapline.core import copies, schemas
from trapline.core.log import Log
from trapline.io.ledger import Parts
from trapline.stages.inspect import MEASURES, inspect, measures

NOW = datetime(2026, 1, 1)
N, PLACES = 120, 12


def tables(rng):
    """Crops of two labels at 12 places, ten each, five bursts of two at each place."""
    place = [f"P{k % PLACES}" for k in range(N)]
    ids = [f"d/{k:03}.jpg___crop00.jpg" for k in range(N)]
    true = (np.arange(N) // PLACES) % 2
    features = rng.normal(0, 0.5, (N, 16)).astype(np.float32)
    features[np.arange(N), true] += 4
    examples = pl.DataFrame(
        {
            "crop_id": ids,
            "labels": [[("fox", "cat")[k]] for k in true],
            "image_id": [f"i{k}" for k in range(N)],
            "dataset": "d",
            "location_id": place,
            "group_id": place,
            "sequence_id": [f"s{k % PLACES}.{k // 24}" for k in range(N)],
            "captured_at": [datetime(2024, 5, 1) + timedelta(hours=k) for k in range(N)],
            "weight": 1.0,
            "heldback": False,
        }
    )
    empty = schemas.EXAMPLES.empty()
    examples = pl.concat([empty, examples], how="diagonal_relaxed").select(empty.columns)
    crops = pl.DataFrame(
        {"crop_id": ids, "box_id": [f"b{k}" for k in range(N)], "width_px": 300, "height_px": 300}
    ).with_columns(pl.col("width_px", "height_px").cast(pl.Int64))
    boxes = crops.select("box_id", box_x=pl.lit(0.1), box_y=pl.lit(0.1), box_w=pl.lit(0.4), box_h=pl.lit(0.4))
    names = sorted(set(place))
    splits = pl.DataFrame({"group_id": names, "split": (["train"] * 8 + ["val"] * 2 + ["test"] * 2)})
    measured = pl.DataFrame(
        {"crop_id": ids, "blur": 0.3, "dark": 0.8, "bright": 0.1, "padding": 0.0},
        schema={"crop_id": pl.String, **MEASURES},
    )
    return ids, examples, crops, boxes, splits, measured, features


def embedded(ids, features):
    column = pl.Series(features, dtype=pl.Array(pl.Float32, features.shape[1]))
    return pl.DataFrame({"crop_id": ids, "model": "m", "embedding": column})


def run(examples, crops, boxes, splits, measured, embeddings, log=None):
    wished = {"train": 0.66, "val": 0.17, "test": 0.17}
    return inspect(examples, crops, boxes, splits, embeddings, measured, wished, now=NOW, log=log or Log())


def test_each_planted_fault_is_found_and_nothing_else():
    ids, examples, crops, boxes, splits, measured, features = tables(np.random.default_rng(0))
    at = pl.col("crop_id")
    examples = examples.with_columns(
        labels=pl.when(at == ids[0]).then(pl.lit(["cat"])).otherwise("labels"),
        captured_at=pl.when(at == ids[7]).then(pl.lit(datetime(1970, 1, 1))).otherwise("captured_at"),
        image_id=pl.when(at == ids[30]).then(pl.lit("i18")).otherwise("image_id"),  # another label, the same box
    )
    features[50] = features[61]  # of another place and split
    features[12] = features[0 + 24]  # of one burst? no: 12 is s0.0, 24 is s0.1: the same place, another visit
    measured = measured.with_columns(blur=pl.when(at == ids[9]).then(0.9).otherwise("blur"))
    found = run(examples, crops, boxes, splits, measured, embedded(ids[::-1], features[::-1]))
    kinds = {kind: set(part["crop_id"]) for (kind,), part in found.group_by("kind")}
    assert kinds.pop("likely_wrong_label") >= {ids[0]}
    assert kinds.pop("near_duplicate") == {ids[k] for k in (50, 61, 12, 24)}
    assert kinds.pop("impossible_time") == {ids[7]}
    assert kinds.pop("overlapping_boxes") == {ids[18], ids[30]}
    assert kinds.pop("blurred") == {ids[9]}
    kinds.pop("outlier", None)
    assert not kinds
    schemas.ISSUES.check(found)


def test_without_features_the_rest_is_found_still():
    ids, examples, crops, boxes, splits, measured, features = tables(np.random.default_rng(1))
    crops = crops.with_columns(width_px=pl.lit(20), height_px=pl.lit(30)).cast({"width_px": pl.Int64})
    none = embedded(ids, features).with_columns(embedding=pl.lit(None, dtype=pl.Array(pl.Float32, 16)))
    found = run(examples, crops, boxes, splits, measured, none)
    assert found["kind"].unique().to_list() == ["tiny"]
    assert found.height == N


def test_more_crops_than_can_be_compared_and_no_index_is_said(monkeypatch):
    monkeypatch.setattr(copies, "MOST_EXACT", 100)
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    ids, examples, crops, boxes, splits, measured, features = tables(np.random.default_rng(4))
    features[50] = features[61]
    log = Log()
    found = run(examples, crops, boxes, splits, measured, embedded(ids, features), log)
    assert "near_duplicate" not in found["kind"]
    assert len(log.warnings) == 1
    assert "near-duplicates were not looked for. Install it: pip install 'trapline[large]'" in log.warnings[0]


def test_an_empty_project_has_no_issues():
    ids, examples, crops, boxes, splits, measured, features = tables(np.random.default_rng(2))
    tables_ = (frame.clear() for frame in (examples, crops, boxes, splits, measured, embedded(ids, features)))
    assert run(*tables_).height == 0


def test_an_unreadable_crop_is_a_null_and_the_others_are_kept(tmp_path):
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("nothing")
    crops = pl.DataFrame({"crop_id": ["a.jpg", "b.jpg", "gone.jpg"]})
    parts = Parts(tmp_path / "parts")
    found = measures(crops, crops_dir=tmp_path, max_pixels=10**8, workers=2, parts=parts, log=Log())
    assert found["crop_id"].to_list() == ["a.jpg", "b.jpg", "gone.jpg"]
    assert found["padding"].is_null().to_list() == [False, True, True]
