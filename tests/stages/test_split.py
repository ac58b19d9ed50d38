import polars as pl
import pytest

from trapline.core.config import SplitConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import EXAMPLES, SPLITS
from trapline.stages.split import split

CFG = SplitConfig(draws=200)


def examples(*rows, prefix=""):
    """Examples from (group, label, sequence) or (group, label)."""
    filled = [
        {
            "crop_id": f"{prefix}c{n:05d}",
            "image_id": f"i{n}",
            "labels": [label],
            "group_id": group,
            "sequence_id": sequence[0] if sequence else f"{prefix}s{n}",
            "dataset": "is",
            "weight": 1.0,
            "heldback": False,
        }
        for n, (group, label, *sequence) in enumerate(rows)
    ]
    return pl.DataFrame(filled, schema=EXAMPLES.columns)


def run(rows, cfg=CFG):
    log = Log()
    return SPLITS.check(split(rows, cfg, log=log)), log


def plenty():
    return examples(*((f"g{g:02d}", label) for g in range(30) for label in ("fox", "skunk", "owl")[: 1 + g % 3]))


def test_every_group_once_in_the_asked_shares():
    found, log = run(plenty())
    assert found["group_id"].to_list() == [f"g{g:02d}" for g in range(30)]
    assert found["fold"].null_count() == 30
    assert dict(found.group_by("split").len().rows()) == {"train": 18, "val": 6, "test": 6}
    assert log.notes[0].startswith("train 18 groups, ")
    assert log.warnings == []


def test_the_seed_fixes_the_split():
    found, _ = run(plenty())
    assert run(plenty().sample(fraction=1, shuffle=True, seed=1))[0].equals(found)
    assert not run(plenty(), SplitConfig(draws=200, seed=1))[0].equals(found)


def test_every_label_with_enough_groups_is_everywhere():
    rare = [(f"g{g:02d}", f"rare{label}") for label in range(6) for g in range(3 * label, 3 * label + 3)]
    rows = pl.concat([plenty(), examples(*rare, prefix="rare")])
    found, log = run(rows)
    placed = rows.join(found, on="group_id").explode("labels").group_by("labels").agg(pl.col("split").unique().sort())
    assert {tuple(where) for where in placed["split"].to_list()} == {("test", "train", "val")}
    assert log.warnings == []


def test_labels_with_too_few_groups_are_reported_and_never_stop_it():
    rows = pl.concat(
        [
            plenty(),
            examples(("g03", "one"), ("g01", "two"), ("g02", "two"), prefix="rare"),
        ]
    )
    found, log = run(rows)
    places = rows.join(found, on="group_id").explode("labels").group_by("labels").agg(pl.col("split").unique().sort())
    assert dict(places.rows())["one"] == ["train"]
    assert dict(places.rows())["two"] == ["test", "train"]
    assert log.warnings == [
        "2 labels have too few groups to be in val: one, two.",
        "1 labels have too few groups to be in test: one.",
    ]


def test_groups_that_share_a_sequence_stay_together():
    """A burst filed under two places would put the same animal on both sides."""
    for seed in range(5):
        shared = [(f"g{g:02d}", "fox", f"burst{g // 3}") for g in range(30)]
        found, _ = run(examples(*shared), SplitConfig(draws=20, seed=seed))
        places = found["split"].to_list()
        assert all(len(set(places[n : n + 3])) == 1 for n in range(0, 30, 3))
        assert found["split"].n_unique() == 3


def test_a_chain_of_shared_sequences():
    rows = examples(
        ("a", "fox", "1"), ("b", "fox", "1"), ("b", "fox", "2"), ("c", "fox", "2"), ("d", "fox"), ("e", "fox")
    )
    found = dict(run(rows)[0].select("group_id", "split").rows())
    assert found["a"] == found["b"] == found["c"]
    assert len(set(found.values())) == 3


@pytest.mark.parametrize(
    ("groups", "splits", "words"),
    [
        (1, {"train"}, "1 group(s) cannot fill 3 splits: everything is train"),
        (2, {"train", "test"}, "2 group(s) cannot fill 3 splits: there is no val"),
        (3, {"train", "val", "test"}, None),
    ],
)
def test_few_groups_are_no_crash(groups, splits, words):
    found, log = run(examples(*((f"g{g}", "fox") for g in range(groups))))
    assert set(found["split"]) == splits
    assert any(words in line for line in log.warnings) if words else log.warnings == []


def test_no_val_wished_for():
    found, log = run(plenty(), SplitConfig(draws=50, val_frac=0.0, test_frac=0.3))
    assert dict(found.group_by("split").len().rows()) == {"train": 21, "test": 9}
    assert log.warnings == []


def test_nothing_to_split():
    with pytest.raises(InputError, match="there are no examples to split"):
        run(examples())
    with pytest.raises(InputError, match="1 of 2 examples have no group"):
        run(examples(("a", "fox"), (None, "fox")))
