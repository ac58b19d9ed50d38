"""Label rules, rarity and caps of the dataset stage, against slow Python."""

import polars as pl
import pytest

from trapline.core import label_rules
from trapline.core.config import DatasetConfig
from trapline.core.errors import InputError
from trapline.core.label_rules import LabelRules, from_map
from trapline.core.log import Log
from trapline.core.sampling import chance, within_cap
from trapline.core.schemas import CROPS, IMAGES, LABELS, LOCATIONS
from trapline.stages.dataset import dataset, label_counts

NONE = pl.DataFrame(schema={"box_id": pl.String, "action": pl.String, "to": pl.String})


def run(rows, rules=None, locations=None, **cfg):
    """rows: (label, camera, sequence), one crop each, named c0000 on."""
    images, crops, labels = [], [], []
    for n, (label, camera, sequence, *dataset_name) in enumerate(rows):
        name = dataset_name[0] if dataset_name else "is"
        images.append(
            {"image_id": f"i{n}", "dataset": name, "file_name": f"{n}.jpg", "location_id": camera, "camera_id": camera}
            | {"deployment_id": f"{camera}-{n % 2}", "sequence_id": sequence}
        )
        crops.append({"crop_id": f"c{n:04d}", "box_id": f"b{n}", "image_id": f"i{n}", "path": "x"})
        labels.append({"image_id": f"i{n}", "box_id": f"b{n}", "source_label": label, "sequence_level": False})
    log = Log()
    config = DatasetConfig(**{"min_locs": 1, "heldback_frac": 0.0, **cfg})
    found = dataset(
        pl.DataFrame(images, schema=IMAGES.columns),
        pl.DataFrame(crops, schema=CROPS.columns),
        pl.DataFrame(labels, schema=LABELS.columns),
        NONE,
        config,
        rules=rules,
        locations=locations,
        log=log,
    )
    return found, log


def counts(found):
    return dict(label_counts(found).select("label", "crops").rows())


def test_a_map_renames_drops_and_leaves_the_rest():
    rows = [("Fox", "a", "s1"), ("fox", "a", "s2"), ("vehicle", "b", "s3"), ("owl", "b", "s4")]
    found, log = run(rows, from_map({"Fox": "fox", "vehicle": None}))
    assert counts(found) == {"fox": 2, "owl": 1}
    assert log.accounts[0].left_out == {label_rules.DROPPED: 1}


def test_a_specification_is_closed_and_knows_datasets():
    table = pl.DataFrame([("is", "fox", "canid", "x")], schema=label_rules.SCHEMA, orient="row")
    found, log = run(
        [("fox", "a", "s1"), ("fox", "a", "s2", "other"), ("owl", "b", "s3")], LabelRules(table, closed=True)
    )
    assert counts(found) == {"canid": 1}
    assert log.accounts[0].left_out == {label_rules.UNSELECTED: 2}


def test_too_few_examples_are_rare():
    rows = [("fox", f"c{n}", f"s{n}") for n in range(5)] + [("owl", f"c{n}", f"t{n}") for n in range(3)]
    assert counts(run(rows, min_examples=4, rare="drop")[0]) == {"fox": 5}
    found, log = run(rows, min_examples=4, rare="other")
    assert counts(found) == {"fox": 5, "other": 3}
    assert "fewer than 1 groups or 4 crops and were merged into other: owl (3 groups, 3 crops)" in log.warnings[0]
    assert counts(run(rows, min_examples=3, rare="drop")[0]) == {"fox": 5, "owl": 3}


def slow_cap(rows, limit, seed):
    """Names a cap keeps: sequences take turns, in the order of the crops' hashes. rows: (name, sequence)."""
    order = sorted(rows, key=lambda row: (chance(seed, "crop", row[0]), row[0]))
    turns, kept = {}, []
    for name, sequence in order:
        turns[sequence] = turns.get(sequence, -1) + 1
        kept.append((turns[sequence], chance(seed, "crop", name), name))
    return {name for _, _, name in sorted(kept)[:limit]}


@pytest.mark.parametrize("seed", [0, 1])
def test_caps_spread_over_sequences(seed):
    rows = [("rat", "cam1", f"s{n % 7 if n < 90 else n}") for n in range(100)] + [
        ("rat", "cam2", f"t{n}") for n in range(6)
    ]
    found, log = run(rows, max_per_label_location=20, seed=seed)
    wanted = slow_cap([(f"c{n:04d}", rows[n][2]) for n in range(100)], 20, seed)
    assert set(found.filter(pl.col("camera_id") == "cam1")["crop_id"]) == wanted
    assert found.filter(pl.col("camera_id") == "cam2").height == 6
    assert found.filter(pl.col("camera_id") == "cam1")["sequence_id"].n_unique() == 17  # all of them, before any twice
    assert log.accounts[0].left_out == {"over max_per_label_location": 80}
    both, _ = run(rows, max_per_label_location=20, max_per_label=22, seed=seed)
    assert counts(both) == {"rat": 22}
    assert set(both["crop_id"]) <= set(found["crop_id"])


def test_a_cap_barely_moves_when_crops_are_added():
    rows = [(f"c{n:04d}", f"s{n}") for n in range(200)]
    frame = pl.DataFrame(rows, schema=["crop_id", "sequence_id"], orient="row").with_columns(label=pl.lit("rat"))
    before = set(frame.filter(within_cap(frame, ["label"], 50, 0))["crop_id"])
    more = pl.concat(
        [
            frame,
            pl.DataFrame(
                {"crop_id": [f"d{n}" for n in range(20)], "sequence_id": [f"t{n}" for n in range(20)]}
            ).with_columns(label=pl.lit("rat")),
        ]
    )
    after = set(more.filter(within_cap(more, ["label"], 50, 0))["crop_id"])
    assert len(before) == len(after) == 50
    assert before - after == {name for name in before if name not in after}
    assert len(before & after) == 50 - len([name for name in after if name.startswith("d")]) >= 35
    elsewhere = pl.concat([frame, frame.with_columns(crop_id=pl.col("crop_id") + "o", label=pl.lit("owl"))])
    assert (
        set(elsewhere.filter(within_cap(elsewhere, ["label"], {"rat": 50}, 0) & (pl.col("label") == "rat"))["crop_id"])
        == before
    )


def test_a_specification_caps_and_takes_datasets_in_order():
    rows = [("fox", "a", f"s{n}", "is" if n % 2 else "far") for n in range(20)]
    rules = LabelRules(max_count={"fox": 12}, prioritize={"fox": (("is",),)})
    found, log = run(rows, rules)
    assert dict(found.group_by("dataset").len().rows()) == {"is": 10, "far": 2}
    assert log.accounts[0].left_out == {"over max_per_label": 8}


def test_group_by_deployment():
    rows = [("fox", "a", "s1"), ("fox", "a", "s2"), ("fox", "b", "s3")]
    assert run(rows, group_by="deployment")[0]["group_id"].to_list() == ["is/a/a-0", "is/a/a-1", "is/b/b-0"]


def places(*rows):
    names = ("dataset", "location_id", "latitude", "longitude")
    return pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows], schema=LOCATIONS.columns)


def test_group_by_region_joins_near_places():
    rows = [("fox", "a", "s1"), ("fox", "b", "s2"), ("fox", "c", "s3"), ("fox", None, "s4")]
    near = places(("is", "a", 34.0, -119.75), ("is", "b", 34.001, -119.751), ("is", "c", 36.0, -119.75))
    groups = run(rows, locations=near, group_by="region")[0]["group_id"].to_list()
    assert groups[0] == groups[1] != groups[2]
    assert groups[0].startswith("region 85")  # an H3 cell of resolution 5
    assert groups[3] == "sequence s4"
    fine = run(rows, locations=near, group_by="region", region_resolution=12)[0]["group_id"]
    assert fine.n_unique() == 4
    with pytest.raises(InputError, match=r"2 of 3 locations have no coordinates \(first: b\).*locations.csv"):
        run(rows, locations=places(("is", "a", 34.0, -119.75)), group_by="region")


def test_everything_left_out_is_explained():
    with pytest.raises(InputError, match="no example is left") as failure:
        run([("vehicle", "a", "s1"), ("person", "a", "s2")], from_map({"vehicle": None}), exclude=("person",))
    assert failure.value.problems == ("1 dropped by the label map", "1 of an excluded label")


def test_one_label_is_said():
    assert any("one label, fox: there is nothing to tell apart" in note for note in run([("fox", "a", "s1")])[1].notes)
