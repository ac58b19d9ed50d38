import polars as pl
import pytest

from trapline.core.config import DatasetConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import CROPS, EXAMPLES, IMAGES, LABELS
from trapline.stages.dataset import dataset, label_counts

NONE = pl.DataFrame(schema={"box_id": pl.String, "action": pl.String, "to": pl.String})
PLAIN = DatasetConfig(min_locs=1, heldback_frac=0.0)


class World:
    """Images, crops and labels, a box per line: (box, labels, camera, location, sequence)."""

    def __init__(self, *lines, failed=()):
        images, crops, labels = [], [], []
        for box, names, camera, location, sequence in lines:
            image = f"is/i{box}"
            images.append(
                {"image_id": image, "dataset": "is", "file_name": f"{box}.jpg", "location_id": location}
                | {"camera_id": camera, "deployment_id": location, "sequence_id": sequence}
            )
            failure = "truncated" if box in failed else None
            crops.append(
                {"crop_id": f"is/{box}.jpg___crop00.jpg", "box_id": box, "image_id": image, "failure": failure}
                | {"path": None if failure else "x", "infrared": False}
            )
            labels += [
                {"image_id": image, "box_id": box, "source_label": name, "sequence_level": False}
                for name in names.split("+")
                if name
            ]
        self.images = pl.DataFrame(images, schema=IMAGES.columns)
        self.crops = pl.DataFrame(crops, schema=CROPS.columns)
        self.labels = pl.DataFrame(labels, schema=LABELS.columns)

    def run(self, cfg=PLAIN, corrections=NONE):
        log = Log()
        found = dataset(self.images, self.crops, self.labels, corrections, cfg, log=log)
        return EXAMPLES.check(found), log


def test_crops_weigh_as_sure_as_the_detector_was_and_a_persons_box_in_full():
    world = simple("fox", "owl", "owl")
    boxes = pl.DataFrame({"box_id": ["b0", "b1", "b2"], "conf": [0.25, None, 0.0]})
    cfg = PLAIN.model_copy(update={"weight_by_detection_conf": True})
    found = dataset(world.images, world.crops, world.labels, NONE, cfg, boxes=boxes, log=Log())
    assert EXAMPLES.check(found)["weight"].to_list() == [0.25, 1.0, 0.0]
    plain = dataset(world.images, world.crops, world.labels, NONE, PLAIN, boxes=boxes, log=Log())
    assert plain["weight"].to_list() == [1.0] * 3


def decided(*rows):
    return pl.DataFrame(rows, schema=NONE.schema, orient="row")


def named(found):
    return [(crop.split("/")[1].split(".")[0], *labels) for crop, labels in found.select("crop_id", "labels").rows()]


def simple(*names):
    return World(*((f"b{n}", name, f"cam{n}", f"loc{n}", f"s{n}") for n, name in enumerate(names)))


def test_a_row_per_crop():
    found, log = World(("b1", "fox", "cam1", "Ridge", "s1")).run()
    assert found.rows() == [
        (
            "is/b1.jpg___crop00.jpg",
            ["fox"],
            "is/ib1",
            "is",
            "Ridge",
            "cam1",
            "Ridge",
            False,
            "is/cam1",
            "s1",
            None,
            1.0,
            False,
        )
    ]
    assert [str(account) for account in log.accounts] == ["1 boxes -> 1 examples"]


def test_labels_are_mapped_then_excluded():
    cfg = PLAIN.model_copy(
        update={"label_map": {"Vulpes": "fox", "kit fox": "fox", "man": "person"}, "exclude": ("person",)}
    )
    found, log = simple("Vulpes", "kit fox", "man", "person", "vehicle").run(cfg)
    assert named(found) == [("b0", "fox"), ("b1", "fox"), ("b4", "vehicle")]
    assert log.accounts[0].left_out == {"of an excluded label": 2}


def test_several_labels_are_left_out_unless_they_are_one():
    world = simple("fox+skunk", "fox+Vulpes", "", "owl")
    found, log = world.run(PLAIN.model_copy(update={"label_map": {"Vulpes": "fox"}}))
    assert named(found) == [("b1", "fox"), ("b3", "owl")]
    assert log.accounts[0].left_out == {"with several labels": 1, "without a label": 1}


def test_failed_crops_are_counted():
    world = World(("b1", "fox", "c", "l", "s"), ("b2", "fox", "c", "l", "s"), failed={"b2"})
    found, log = world.run()
    assert named(found) == [("b1", "fox")]
    assert str(log.accounts[0]) == "2 boxes -> 1 examples; left out 1 whose crop failed"


def test_corrections():
    world = simple("fox", "fox", "fox", "fox+skunk", "fox")
    corrections = decided(
        ("b0", "relabel", "skunk"),
        ("b1", "exclude", None),
        ("b2", "unsure", None),
        ("b3", "relabel", "owl"),
        ("b4", "accept", None),
        ("gone", "exclude", None),
    )
    found, log = world.run(corrections=corrections)
    assert named(found) == [("b0", "skunk"), ("b3", "owl"), ("b4", "fox")]
    assert log.accounts[0].left_out == {"excluded by a correction": 1, "a person was unsure of": 1}
    assert log.warnings == ["1 corrections are of boxes that do not exist (first: gone)."]


def test_an_excluded_label_stays_out_after_relabelling():
    found, _ = simple("fox", "owl").run(
        PLAIN.model_copy(update={"exclude": ("person",)}), decided(("b0", "relabel", "person"))
    )
    assert named(found) == [("b1", "owl")]


RARE = ["fox"] * 4 + ["owl", "owl", "bat"]


@pytest.mark.parametrize(
    ("rare", "counts", "left_out", "done"),
    [
        ("keep", {"fox": 4, "owl": 2, "bat": 1}, {}, "kept, train first"),
        ("drop", {"fox": 4}, {"of a rare label": 3}, "left out"),
        ("other", {"fox": 4, "other": 3}, {}, "merged into other"),
    ],
)
def test_rare_labels(rare, counts, left_out, done):
    found, log = simple(*RARE).run(DatasetConfig(min_locs=3, heldback_frac=0, rare=rare))
    assert dict(label_counts(found).select("label", "crops").rows()) == counts
    assert log.accounts[0].left_out == left_out
    assert log.warnings == [
        f"2 labels are seen in fewer than 3 groups and were {done}: bat (1 groups, 1 crops), owl (2 groups, 2 crops)."
    ]


def test_enough_groups_is_not_rare():
    assert simple("owl", "owl", "owl").run(DatasetConfig(min_locs=3))[1].warnings == []


PLACES = World(
    ("b1", "fox", "cam1", "north", "s1"),
    ("b2", "fox", "cam1", "south", "s2"),
    ("b3", "fox", None, "26", "s3"),
    ("b4", "fox", None, None, "s4"),
    ("b5", "fox", "cam2", "west", "s5"),
)


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        ("camera", ["is/cam1", "is/cam1", "is/26", "sequence s4", "is/cam2"]),
        ("location", ["is/north", "is/south", "is/26", "sequence s4", "is/west"]),
    ],
)
def test_groups(group_by, groups):
    found, _ = PLACES.run(PLAIN.model_copy(update={"group_by": group_by}))
    assert found["group_id"].to_list() == groups


def test_rarity_counts_groups_not_deployments():
    assert "2 groups" not in str(PLACES.run(DatasetConfig(min_locs=4))[1].warnings)
    assert "fox (4 groups, 5 crops)" in PLACES.run(DatasetConfig(min_locs=5))[1].warnings[0]


def many(groups=range(40), sequences=10):
    lines = [
        (f"b{g}-{s}-{frame}", "fox", f"cam{g}", f"loc{g}", f"s{g}-{s}")
        for g in groups
        for s in range(sequences)
        for frame in range(2)
    ]
    return World(*lines)


def heldback(world, **changes):
    found, _ = world.run(DatasetConfig(min_locs=1, **changes))
    return found.filter("heldback")


def test_a_share_of_every_groups_sequences_is_held_back():
    held = heldback(many(), heldback_frac=0.2)
    per_group = held.group_by("group_id").agg(pl.col("sequence_id").n_unique())
    assert per_group.height == 40
    assert set(per_group["sequence_id"]) <= {2}
    assert held.height == 40 * 2 * 2  # whole sequences: both frames
    share = heldback(many(), heldback_frac=0.15)["sequence_id"].n_unique() / 400
    assert 0.12 < share < 0.18  # 1.5 per group: rounded up or down by chance
    assert heldback(many(), heldback_frac=0.0).is_empty()


def test_never_all_of_a_group_is_held_back():
    for sequences in (1, 2, 3):
        world = many(range(30), sequences)
        held = heldback(world, heldback_frac=0.99).group_by("group_id").agg(pl.col("sequence_id").n_unique())
        assert held.filter(pl.col("sequence_id") >= sequences).is_empty()


def test_a_group_keeps_something_of_every_label_to_teach():
    lines = [
        (f"b{g}-{s}", ("fox", "owl")[s == 0], f"cam{g}", f"loc{g}", f"s{g}-{s}") for g in range(20) for s in range(4)
    ]
    found, _ = World(*lines).run(DatasetConfig(min_locs=1, heldback_frac=0.5))
    assert found["heldback"].sum() >= 20
    taught = found.filter(~pl.col("heldback")).explode("labels").select("group_id", "labels").unique()
    assert taught.height == 20 * 2


def test_what_is_held_back_stays_when_images_are_added_elsewhere():
    before = set(heldback(many(range(20)), heldback_frac=0.2)["crop_id"])
    after = heldback(many(range(40)), heldback_frac=0.2)
    assert before == set(after.filter(pl.col("group_id").is_in([f"is/cam{g}" for g in range(20)]))["crop_id"])
    assert before != set(heldback(many(range(20)), heldback_frac=0.2, seed=1)["crop_id"])


def test_no_example_says_what_left_them_out():
    world = World(("b1", "person", "c", "l", "s"), ("b2", "fox", "c", "l", "s"), failed={"b2"})
    with pytest.raises(InputError, match="no example is left to learn from") as caught:
        world.run(PLAIN.model_copy(update={"exclude": ("person",)}))
    assert caught.value.problems == ("1 whose crop failed", "1 of an excluded label")
    with pytest.raises(InputError, match="there are no boxes at all"):
        World().run()


def test_label_counts():
    found, _ = PLACES.run()
    assert label_counts(found).rows() == [("fox", 5, 4, 5)]


def test_order_of_the_tables_does_not_matter():
    world = many(range(5), 3)
    found, _ = world.run(DatasetConfig(min_locs=1, heldback_frac=0.4))
    world.images, world.crops, world.labels = (
        frame.sample(fraction=1, shuffle=True, seed=3) for frame in (world.images, world.crops, world.labels)
    )
    assert world.run(DatasetConfig(min_locs=1, heldback_frac=0.4))[0].equals(found)
