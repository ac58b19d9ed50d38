"""A former test set, folds, and places that show the same frames."""

import polars as pl
import pytest

from trapline.core.config import SplitConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import EXAMPLES, LEAKS, SPLITS
from trapline.stages.leaks import leaks, twins
from trapline.stages.split import split

LABELS = ("fox", "skunk", "owl")
METHODS = ("optimal", "random", "smallest_first")
INPUTS = ("former_test", "former_splits", "twins")


def examples(n=30, locations_per_group=1):
    rows = [
        {
            "crop_id": f"c{g:02d}-{k}-{n}",
            "image_id": f"i{g:02d}-{k}-{n}",
            "labels": [label],
            "dataset": "is",
            "location_id": f"loc{g:02d}-{k}",
            "group_id": f"g{g:02d}",
            "sequence_id": f"s{g:02d}-{k}-{n}",
            "weight": 1.0,
            "heldback": False,
        }
        for g in range(n)
        for k in range(locations_per_group)
        for n, label in enumerate(LABELS[: 1 + g % 3])
    ]
    return pl.DataFrame(rows, schema=EXAMPLES.columns)


def former(*locations, dataset="is"):
    return pl.DataFrame({"dataset": [dataset] * len(locations), "location": list(locations)})


def run(table, log=None, **kwargs):
    cfg = SplitConfig(**{"draws": 50, "prove": 0, **{k: v for k, v in kwargs.items() if k not in INPUTS}})
    inputs = {k: v for k, v in kwargs.items() if k in INPUTS}
    return SPLITS.check(split(table, cfg, log=log or Log(), **inputs))


@pytest.mark.parametrize("method", METHODS)
def test_a_former_test_set_is_test_again_and_leaks_nothing(method):
    table = examples(locations_per_group=2)
    test = former("loc03-0", "loc07-1", "loc11-0", "loc11-1", "gone")
    log = Log()
    found = run(table, log, method=method, former_test=test)
    assert found.filter(pl.col("split") == "test")["group_id"].to_list() == ["g03", "g07", "g11"]
    assert {"train", "val"} < set(found["split"])
    placed = table.join(found, on="group_id")
    elsewhere = placed.filter(pl.col("split") != "test")
    assert not set(elsewhere["location_id"]) & set(test["location"])  # not one former test location is learnt from
    assert "1 of 5 test locations of the former split are not among the examples" in log.warnings[0]
    assert "2 more locations are test" in log.warnings[1]


def test_a_former_test_set_that_cannot_be_matched():
    with pytest.raises(InputError, match="none of the 1 test locations"):
        run(examples(), former_test=former("loc03-0", dataset="other"))
    every = former(*examples(4)["location_id"].unique().to_list())
    with pytest.raises(InputError, match="covers all 4 groups: nothing is left to learn from"):
        run(examples(4), former_test=every)


def test_a_group_tied_to_a_test_location_is_test():
    table = examples().with_columns(
        sequence_id=pl.when(pl.col("group_id").is_in(["g01", "g02"])).then(pl.lit("burst")).otherwise("sequence_id")
    )
    found = dict(run(table, former_test=former("loc01-0")).select("group_id", "split").rows())
    assert (found["g01"], found["g02"]) == ("test", "test")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_labels_everywhere_and_repeats(method):
    table = examples()
    found = run(table, method=method)
    placed = table.join(found, on="group_id").explode("labels")
    assert placed.group_by("split").agg(pl.col("labels").n_unique())["labels"].to_list() == [3, 3, 3]
    assert run(table.sample(fraction=1, shuffle=True, seed=1), method=method).equals(found)


def test_folds_share_out_every_label():
    log = Log()
    found = run(examples(), log, folds=5)
    assert dict(found.group_by("fold").len().rows()) == dict.fromkeys(range(5), 6)
    placed = examples().join(found, on="group_id").explode("labels")
    assert placed.group_by("fold").agg(pl.col("labels").n_unique())["labels"].to_list() == [3] * 5
    meant = pl.when(pl.col("fold") == 0).then(pl.lit("test")).when(pl.col("fold") == 1).then(pl.lit("val"))
    assert found.select((meant.otherwise(pl.lit("train")) == pl.col("split")).all()).item()
    assert "fold 0 is test and fold 1 val" in log.notes[0]
    with pytest.raises(InputError, match=r"3 groups cannot fill 5 folds\. Use --folds 3"):
        run(examples(3), folds=5)


def test_the_note_states_score_bound_and_gap():
    log = Log()
    run(examples(), log, prove=20)
    assert any("no split can be below" in note and "gap" in note for note in log.notes)


def test_shares_that_cannot_be_met_are_explained():
    table = pl.concat([examples(6), *[examples(1).with_columns(crop_id=pl.lit(f"x{n}")) for n in range(200)]])
    log = Log()
    run(table, log)
    assert any("cannot be met" in line and "g00, holds 9" in line for line in log.warnings)


def crops(hashes):
    return pl.DataFrame(
        {"crop_id": list(hashes), "frame_hash": list(hashes.values())}, schema_overrides={"frame_hash": pl.String}
    )


def turned(*bits):
    number = 0x5A6B << 200 | 0x1234
    for bit in bits:
        number ^= 1 << bit
    return f"{number:064x}"


def test_twins_are_mutual_neighbours_of_two_places():
    table = examples(4)
    ids = table["crop_id"].to_list()  # g00: 1, g01: 2, g02: 3, g03: 1
    hashes = {
        ids[0]: turned(),  # a copy of ids[1] ...
        ids[1]: turned(3),
        ids[2]: turned(3, 9, 70, 90, 100),  # ... whose burst mate is near the copy too, but not nearest
        ids[3]: "f" * 64,
        ids[4]: "f" * 64,  # the same frame in the same place: a burst
        ids[5]: None,
        ids[6]: "0f" * 32,
    }
    log = Log()
    found = twins(table, crops(hashes), log=log)
    assert found.select("group_id", "other_group_id", "distance").rows() == [("g00", "g01", 1)]
    assert "1 of 7 images cannot be compared" in log.notes[0]


def test_leaks_are_twins_in_two_splits_and_fix_joins_their_groups():
    table = examples()
    pair = pl.DataFrame(
        {"image_id": ["i00-0-0"], "other_image_id": ["i01-0-0"], "group_id": ["g00"], "other_group_id": ["g01"]}
    ).with_columns(distance=pl.lit(2, pl.Int64))
    apart = pl.DataFrame({"group_id": ["g00", "g01"], "split": ["train", "test"], "fold": [None, None]})
    log = Log()
    found = LEAKS.check(leaks(pair, apart, log=log))
    assert found.select("split", "other_split").rows() == [("train", "test")]
    assert "1 pairs of near-identical frames of 2 groups" in log.warnings[0]
    assert leaks(pair, apart.with_columns(split=pl.lit("train")), log=Log()).height == 0
    split_apart = [seed for seed in range(20) if _differ(run(table, seed=seed, method="random", draws=1, twins=pair))]
    assert split_apart
    assert not any(
        _differ(run(table, seed=seed, method="random", draws=1, twins=pair, fix=True)) for seed in split_apart
    )


def _differ(found):
    splits = dict(found.select("group_id", "split").rows())
    return splits["g00"] != splits["g01"]


@pytest.mark.parametrize("method", METHODS)
def test_a_former_split_is_kept_and_new_places_are_assigned(method):
    old = {"train": range(0, 8), "val": range(8, 11), "test": range(11, 14)}
    rows = [("is", f"loc{n:02d}-0", name) for name, numbers in old.items() for n in numbers] + [("is", "gone", "val")]
    kept = pl.DataFrame(rows, schema=["dataset", "location", "split"], orient="row")
    log = Log()
    found = dict(run(examples(), log, method=method, former_splits=kept).select("group_id", "split").rows())
    assert {name: [g for g in range(14) if found[f"g{g:02d}"] == name] for name in old} == {
        name: list(numbers) for name, numbers in old.items()
    }
    assert {found[f"g{g:02d}"] for g in range(14, 30)} == {"train", "val", "test"}
    assert "1 of 15 locations of the former split are not among the examples" in log.warnings[0]
    everything = pl.DataFrame([("is", f"loc{n:02d}-0", "train" if n else "test") for n in range(30)], orient="row")
    everything.columns = ["dataset", "location", "split"]
    again = run(examples(), method=method, former_splits=everything)
    assert again.filter(pl.col("split") == "test")["group_id"].to_list() == ["g00"]


def test_a_group_of_several_former_splits_is_test_where_any_was():
    table = examples(12, locations_per_group=2)
    rows = [("is", "loc03-0", "train"), ("is", "loc03-1", "test"), ("is", "loc04-0", "train"), ("is", "loc04-1", "val")]
    log = Log()
    kept = pl.DataFrame(rows, schema=["dataset", "location", "split"], orient="row")
    found = dict(run(table, log, former_splits=kept).select("group_id", "split").rows())
    assert (found["g03"], found["g04"]) == ("test", "val")
    assert "2 groups have locations in several of the former splits (first: g03)" in log.warnings[0]
    with pytest.raises(InputError, match="none of the 1 locations of the former split"):
        run(table, former_splits=kept.head(1).with_columns(dataset=pl.lit("other")))
