import gzip
import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from PIL import Image

from trapline.core import calibration, schemas
from trapline.core.config import EvaluateConfig
from trapline.core.errors import TraplineError
from trapline.core.intervals import FEW_GROUPS
from trapline.core.log import Log
from trapline.formats import calibration_json, outputs
from trapline.stages.evaluate import evaluate

HOSTILE = "<script>alert(1)</script>"
FILES = {
    "outputs_train.csv.gz",
    "outputs_val.csv.gz",
    "outputs_test.csv.gz",
    "outputs_seen.csv.gz",
    "overall_metrics.csv",
    "label_stats.csv",
    "confusion_matrices.npz",
    "calibration.json",
    "metrics.parquet",
    "scored.parquet",
    "reliability.parquet",
    "thresholds.parquet",
    "threshold_curves.parquet",
    "report.html",
}


class Page(HTMLParser):
    """The page's text, its script elements and everything it would load."""

    def __init__(self, html: str):
        super().__init__()
        self.scripts, self.loads, self.text, self.inside = 0, [], "", []
        self.feed(html)
        self.text = " ".join(self.text.split()).replace("\u2060", "")

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.inside.append(tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside.pop() if tag in ("script", "style") else None

    def handle_data(self, data):
        self.text += " " + data if not self.inside else ""


class Run:
    """A run folder with tables: `groups` locations per split, crops named after their place."""

    def __init__(self, folder, labels, groups, *, crops=6, right=0.7, seed=0, absent=None):
        rng = np.random.default_rng(seed)
        self.folder, self.labels, self.crops_dir = folder / "runs" / "001-x", list(labels), folder / "crops"
        self.folder.mkdir(parents=True)
        rows, places = [], []
        for split, number in groups.items():
            for g in range(number):
                places.append({"group_id": f"{split}{g}", "split": split, "fold": None})
                for n in range(crops):
                    label = self.labels[(g + n) % len(self.labels)]
                    if (split, label) == absent:
                        label = self.labels[(g + n + 1) % len(self.labels)]
                    rows.append((f"d/{split}{g}/{n}.jpg___crop00.jpg", label, f"{split}{g}", n % 2 == 0, n == 0))
        self.examples = pl.DataFrame(
            [
                {"crop_id": crop, "labels": [label], "image_id": crop, "dataset": "d", "location_id": group,
                 "infrared": infrared, "group_id": group, "weight": 1.0, "heldback": heldback}
                for crop, label, group, infrared, heldback in rows
            ],
            schema=schemas.EXAMPLES.columns,
        )  # fmt: skip
        self.splits = pl.DataFrame(places, schema=schemas.SPLITS.columns)
        width = len(self.labels)
        scores = rng.dirichlet(np.ones(width), len(rows)) * 0.4
        for n, row in enumerate(rows):
            named = self.labels.index(row[1])
            scores[n, named if rng.random() < right else rng.integers(width)] += 0.6
        self.predictions = pl.DataFrame(
            {"crop_id": [row[0] for row in rows], "scores": scores.astype(np.float32), "failure": None},
            schema={"crop_id": pl.String, "scores": pl.Array(pl.Float32, width), "failure": pl.String},
        )
        self.write("params.json", {"labels": self.labels, "config": {"model": "tf_efficientnet_lite0"}})

    def write(self, name, content):
        (self.folder / name).write_text(json.dumps(content))

    def evaluate(self, taxonomy=None, **options):
        self.log = Log()
        self.metrics = evaluate(
            self.predictions,
            self.examples,
            self.splits,
            EvaluateConfig(**options),
            taxonomy=taxonomy,
            run_dir=self.folder,
            crops_dir=self.crops_dir,
            log=self.log,
        )
        self.html = (self.folder / "report.html").read_text()
        self.page = Page(self.html)
        assert {path.name for path in self.folder.iterdir()} >= FILES
        return self

    def figure(self, split, name, label="", kind="", group=""):
        found = self.metrics.filter(
            pl.col("split") == split, pl.col("name") == name, pl.col("label") == label,
            pl.col("group_kind") == kind, pl.col("group_value") == group,
        )  # fmt: skip
        return found.row(0, named=True)


FULL = {"train": 10, "val": 5, "test": 12}


@pytest.fixture
def full(tmp_path):
    return Run(tmp_path, ["bobcat", "coyote", "deer", "fox"], FULL)


def test_metrics_and_the_fields_files_agree_with_a_plain_count(full):
    full.evaluate()
    test = outputs.read_outputs(full.folder / "outputs_test.csv.gz")
    named = np.array(test.labels)[test.scores.argmax(1)]
    truth = np.array(test.truth)
    accuracy = (named == truth).mean()
    macro = np.mean([(named[truth == label] == label).mean() for label in full.labels])
    assert full.figure("test", "accuracy")["value"] == pytest.approx(accuracy)
    assert full.figure("test", "macro_recall")["value"] == pytest.approx(macro)
    assert full.figure("test", "macro_recall")["low"] < macro < full.figure("test", "macro_recall")["high"]
    assert full.figure("test", "macro_recall")["support"] == 72
    overall = outputs.read_overall(full.folder / "overall_metrics.csv").filter(pl.col("split") == "test")
    assert overall.columns == [
        "split",
        *("loss", "acc_top1", "acc_top3"),
        *("loss_weighted", "acc_weighted_top1", "acc_weighted_top3"),
    ]
    assert overall["acc_top1"][0] == pytest.approx(accuracy)
    assert overall["acc_weighted_top1"][0] == pytest.approx(macro)
    np.testing.assert_allclose(test.weights.sum(), 72)
    matrix = outputs.read_confusion(full.folder / "confusion_matrices.npz")["test"]
    assert np.trace(matrix) / matrix.sum() == pytest.approx(accuracy)
    stats = pl.read_csv(full.folder / "label_stats.csv").filter(pl.col("split") == "test", pl.col("label") == "deer")
    assert stats["recall"][0] == pytest.approx((named[truth == "deer"] == "deer").mean())
    location = full.figure("test", "accuracy", kind="location", group="test3")
    here = np.array([crop.startswith("d/test3/") for crop in test.crop_ids])
    assert location["value"] == pytest.approx((named == truth)[here].mean())
    assert full.figure("test", "accuracy", kind="light", group="infrared")["support"] == 36


def test_held_back_crops_of_train_groups_are_their_own_split(full):
    full.evaluate()
    assert full.figure("train", "crops")["value"] == 50
    assert full.figure("seen", "crops")["value"] == 10
    assert full.figure("test", "crops")["value"] == 72  # there, heldback means nothing
    seen = outputs.read_outputs(full.folder / "outputs_seen.csv.gz").crop_ids
    assert seen == [f"d/train{g}/0.jpg___crop00.jpg" for g in range(10)]


def test_the_same_inputs_give_the_same_bytes_in_whatever_order(full):
    full.evaluate()
    names = sorted(FILES - {"report.html"})
    first = [(full.folder / name).read_bytes() for name in names]
    table = full.metrics
    full.examples = full.examples.sample(fraction=1, shuffle=True, seed=1)
    full.predictions = full.predictions.sample(fraction=1, shuffle=True, seed=2)
    full.evaluate()
    assert table.equals(full.metrics)
    assert first == [(full.folder / name).read_bytes() for name in names]


def test_the_page_says_it_in_plain_words(full):
    full.evaluate()
    found = full.figure("test", "macro_recall")
    share, low, high = (f"{100 * found[name]:.0f}" for name in ("value", "low", "high"))
    assert (
        f"At the 12 locations it had never seen, the classifier named {share}% of each label’s crops right on average "
        f"(95% interval {low}–{high}%); guessing would give 25%."
    ) in full.page.text
    assert "Locations seen in training" in full.page.text
    assert "Always saying “" in full.page.text
    assert "Nothing: every example was scored." in full.page.text


def test_the_split_is_a_table_and_its_extremes_are_bold(tmp_path):
    run = Run(tmp_path, ["ant", "bee", "cat"], FULL, absent=("test", "ant")).evaluate()
    assert "How the crops were split" in run.page.text
    shares = run.examples.join(run.splits, on="group_id").with_columns(label=pl.col("labels").list.first())
    for label in run.labels:
        own = shares.filter(label=label)
        cells = [f"{own.filter(split=name).height / own.height:.0%}" for name in FULL]
        assert f"{label} {own.height} {' '.join(cells)}" in run.page.text
    assert "<b>ant</b>" in run.html


def test_few_test_locations_give_no_interval_and_the_page_says_why(tmp_path):
    run = Run(tmp_path, ["a", "b"], {"train": 3, "test": 4}).evaluate()
    assert run.figure("test", "macro_recall")["low"] is None
    assert run.figure("test", "macro_recall")["reason"] == FEW_GROUPS
    assert "4 locations of test tell too little about other locations (10 are needed)" in run.page.text
    assert "`trapline split --folds 5` tests at all" in run.page.text


def test_the_page_is_self_contained_and_hostile_names_stay_text(tmp_path):
    labels = [HOSTILE, '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}"]
    run = Run(tmp_path, labels, {"train": 4, "test": 11}, right=0.5)
    bad = f"d/{HOSTILE}.jpg___crop00.jpg"
    name = pl.when(pl.col("crop_id") == "d/test0/1.jpg___crop00.jpg").then(pl.lit(bad)).otherwise("crop_id")
    run.examples = run.examples.with_columns(crop_id=name, location_id=pl.lit(HOSTILE) + pl.col("location_id"))
    run.predictions = run.predictions.with_columns(crop_id=name)
    hit = pl.col("crop_id") == bad
    run.predictions = run.predictions.with_columns(
        scores=pl.when(~hit).then("scores"), failure=pl.when(hit).then(pl.lit("<b>torn</b>"))
    )
    run.write("params.json", {"labels": labels, "config": {"model": HOSTILE}, "versions": {HOSTILE: HOSTILE}})
    (run.folder / "metrics.jsonl").write_text(json.dumps({"epoch": HOSTILE, "val_loss": 1}) + "\n{torn")
    run.evaluate()
    assert run.page.scripts == 2 + ('id="curves"' in run.html)  # our own, and the data it shows
    assert not [where for where in run.page.loads if not where.startswith(("#", "data:image/jpeg;base64,"))]
    for text in (*labels, bad, "<b>torn</b>"):
        assert text in run.page.text
    assert "Content-Security-Policy\" content=\"default-src 'none'" in run.html


def test_pictures_of_right_and_wrong_crops_are_inside(full):
    for crop_id in full.examples["crop_id"]:
        path = full.crops_dir / crop_id
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 200), (90, 120, 60)).save(path)
    (full.crops_dir / "d/test0/1.jpg___crop00.jpg").write_bytes(b"torn")
    full.evaluate(gallery=5)
    assert full.html.count('src="data:image/jpeg;base64,') + full.html.count("no picture") == 10
    assert 'width="160" height="107"' in full.html
    scores = [line for line in full.page.text.split("Named right")[0].split("first")[-1].split() if line.endswith("%")]
    assert scores == sorted(scores, key=lambda score: -float(score.strip("<>%")))
    full.evaluate(gallery=0)
    assert 'src="data:image' not in full.html
    assert '"pictures":[]' in full.html


def test_learning_curves_and_the_probe_are_drawn(full):
    lines = [
        {
            "epoch": n,
            "train_loss": None if n == 0 else 1 / n,
            "val_loss": 1.2 - n / 10,
            "val_macro_recall": 0.5 + n / 20,
        }
        for n in range(4)
    ]
    (full.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    full.write("done.json", {"best_epoch": 2})
    full.evaluate()
    learning = full.html.split('<section id="learning">')[1].split("</section>")[0]
    assert learning.count("<polyline") == 3
    assert "macro recall from 50% at epoch 0 to 65% at epoch 3" in full.html
    assert "epoch that was kept" in full.page.text
    assert "A linear classifier on the pretrained model, not fine-tuned (val)" in full.page.text


def test_a_label_absent_from_test_is_told_and_not_averaged(tmp_path):
    run = Run(tmp_path, ["a", "b", "c", "d"], FULL, absent=("test", "c")).evaluate()
    assert run.figure("test", "recall", "c") | {"value": None, "reason": "no test crops of this label"} == run.figure(
        "test", "recall", "c"
    )
    recalls = [run.figure("test", "recall", label)["value"] for label in "abd"]
    assert run.figure("test", "macro_recall")["value"] == pytest.approx(np.mean(recalls))
    assert "1 label of 4 is absent from test and not in the average: c." in run.page.text
    assert "no test crops of this label" in run.page.text


@pytest.mark.parametrize("labels", [["only"], ["one", "two"]])
def test_fewer_than_three_labels_have_no_top3(tmp_path, labels):
    run = Run(tmp_path, labels, FULL).evaluate()
    header = (run.folder / "overall_metrics.csv").read_text().splitlines()[0]
    assert header == "split,loss,acc_top1,loss_weighted,acc_weighted_top1"
    assert "top3_accuracy" not in run.metrics["name"].to_list()


def test_a_single_example(tmp_path):
    run = Run(tmp_path, ["a", "b"], {"test": 1}, crops=1, right=1.0).evaluate()
    assert run.figure("test", "accuracy")["value"] == 1
    assert "At the one location it had never seen, the classifier named 100% of the crops right" in run.page.text


def test_an_empty_test_split_is_told(tmp_path):
    run = Run(tmp_path, ["a", "b", "c", "d"], {"train": 4, "val": 11}).evaluate()
    assert run.figure("test", "macro_recall")["value"] is None
    assert run.figure("test", "macro_recall")["reason"] == "no crops"
    assert "No test crop could be scored. At the 11 locations that chose the best epoch (validation)" in run.page.text
    assert any("no scored test crops" in text for text in run.log.warnings)
    assert gzip.decompress((run.folder / "outputs_test.csv.gz").read_bytes()) == b"path,label,weight,a,b,c,d\n"


@pytest.mark.parametrize("dtype", [pl.Array(pl.Float32, 4), pl.Array(pl.Float32, 1)])
def test_all_predictions_failed(full, dtype):
    full.predictions = full.predictions.with_columns(scores=pl.lit(None, dtype), failure=pl.lit("file is empty"))
    full.evaluate()
    assert "No crop could be scored, so nothing is known about this classifier." in full.page.text
    assert "that could not be read: file is empty" in full.page.text
    assert str(full.log.accounts[0]) == "162 examples -> 0 scored crops; left out 162 that could not be read"


def test_no_examples_at_all(full):
    full.examples, full.predictions, full.splits = (
        full.examples.clear(),
        full.predictions.clear(),
        full.splits.clear(),
    )
    full.evaluate()
    assert "No crop could be scored" in full.page.text


def test_everything_left_out_is_counted_by_reason(full):
    crops = full.examples["crop_id"].to_list()
    label = pl.col("labels")
    full.examples = full.examples.with_columns(
        labels=pl.when(pl.col("crop_id") == crops[-1]).then(pl.lit(["deer", "fox"]))
        .when(pl.col("crop_id") == crops[-2]).then(pl.lit(["lynx"]))
        .when(pl.col("crop_id") == crops[-3]).then(pl.lit([], pl.List(pl.String)))
        .otherwise(label)
    )  # fmt: skip
    nan = pl.lit([float("nan"), 0.5, 0.5, 0.0], pl.Array(pl.Float32, 4))
    full.predictions = full.predictions.filter(pl.col("crop_id") != crops[0]).with_columns(
        scores=pl.when(pl.col("crop_id") == crops[1]).then(nan).otherwise("scores"),
        failure=pl.when(pl.col("crop_id") == crops[2]).then(pl.lit("file is empty")),
    )
    full.splits = full.splits.filter(pl.col("group_id") != "val0")
    full.evaluate()
    account = full.log.accounts[0]
    assert dict(account.left_out) == {
        "of a group without a split": 6,
        "of a label that the model does not know": 1,
        "that could not be read": 1,
        "with scores that are not numbers": 1,
        "with several labels": 1,
        "without a label": 1,
        "without a prediction": 1,
    }
    assert account.rows_out == 150
    assert any("1 crop of labels that the model was not trained on (lynx)" in text for text in full.log.warnings)
    assert "12 crops could not be counted" in full.page.text


def test_predictions_of_another_run_are_refused(full):
    full.write("params.json", {"labels": ["a", "b"]})
    with pytest.raises(TraplineError, match=r"4 scores per crop, but the run's params\.json names 2 labels"):
        full.evaluate()


@pytest.mark.parametrize("content", [None, "{torn", "{}", '{"labels": []}'])
def test_a_folder_that_is_no_run_is_refused(full, content):
    (full.folder / "params.json").unlink()
    if content is not None:
        (full.folder / "params.json").write_text(content)
    with pytest.raises(TraplineError, match="is missing or names no labels"):
        full.evaluate()


def test_locations_of_the_same_name_in_two_datasets_are_two(full):
    full.examples = full.examples.with_columns(
        dataset=pl.when(pl.col("group_id") == "test1").then(pl.lit("e")).otherwise("dataset"),
        location_id=pl.when(pl.col("group_id") == "test1").then(pl.lit("test0")).otherwise("location_id"),
    )
    full.evaluate()
    assert full.figure("test", "accuracy", kind="location", group="d/test0")["support"] == 6
    assert full.figure("test", "accuracy", kind="location", group="e/test0")["support"] == 6


def test_a_crop_without_location_is_under_its_group(full):
    full.examples = full.examples.with_columns(location_id=pl.lit(None, pl.String))
    full.evaluate()
    assert full.figure("test", "accuracy", kind="location", group="test0")["support"] == 6


def test_of_many_labels_those_with_most_mistakes_are_in_the_matrix(tmp_path):
    labels = [f"label {n:03d}" for n in range(120)]
    run = Run(tmp_path, labels, {"train": 1, "test": 12}, crops=120, right=0.6).evaluate()
    assert "The 100 labels with the most mistakes; 20 others not shown." in run.page.text
    assert "Most frequent confusions" in run.page.text


def test_needs_no_torch():
    code = "import sys, trapline.stages.evaluate; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def table(run, name):
    return pl.read_parquet(run.folder / f"{name}.parquet")


def test_the_runs_tables_keep_their_schemas_and_agree_with_one_another(full):
    full.evaluate(top_k=(1, 3))
    for schema in (schemas.METRICS, schemas.SCORED, schemas.RELIABILITY, schemas.THRESHOLDS, schemas.THRESHOLD_CURVES):
        schema.check(table(full, schema.name))
    assert table(full, "metrics").sort(schemas.METRICS.key).equals(full.metrics.sort(schemas.METRICS.key))
    scored = table(full, "scored")
    assert scored.height == full.examples.height
    test = scored.filter(pl.col("split") == "test")
    right = (test["label"] == test["predicted"]).mean()
    assert full.figure("test", "accuracy")["value"] == pytest.approx(right)
    assert (test["rank"] == 0).mean() == pytest.approx(right)
    assert full.figure("test", "top3_accuracy")["value"] == pytest.approx((test["rank"] < 3).mean())
    assert full.figure("test", "log_loss")["value"] == pytest.approx(-np.log(test["true_score"]).mean(), rel=1e-5)
    bins = table(full, "reliability").filter((pl.col("split") == "test") & (pl.col("scores") == "raw"))
    assert bins["crops"].sum() == test.height
    off = ((bins["confidence"] - bins["accuracy"]).abs() * bins["crops"]).sum() / test.height
    assert full.figure("test", "ece")["value"] == pytest.approx(off)


def test_places_hours_and_light_are_plain_counts(full):
    hour = pl.int_range(pl.len()) % 5 + 6
    full.examples = full.examples.with_columns(
        camera_id=pl.col("group_id").str.slice(0, 5),
        captured_at=pl.when(hour < 10).then(pl.datetime(2024, 5, 1, hour)).cast(schemas.TIME),
    )
    full.evaluate()
    test = table(full, "scored").filter(pl.col("split") == "test")
    for kind in ("location", "camera", "hour", "light"):
        rows = full.metrics.filter((pl.col("split") == "test") & (pl.col("group_kind") == kind))
        counts = test.drop_nulls(kind).with_columns(
            pl.col(kind).cast(pl.String).str.zfill(2), right=pl.col("label") == pl.col("predicted")
        )
        for value, part in counts.group_by(kind):
            found = {row["name"]: row for row in rows.filter(pl.col("group_value") == value[0]).iter_rows(named=True)}
            assert found["accuracy"]["value"] == pytest.approx(part["right"].mean())
            recalls = part.group_by("label").agg(pl.mean("right"))["right"]
            assert found["macro_recall"]["value"] == pytest.approx(recalls.mean())
            assert found["accuracy"]["support"] == part.height
        assert rows["group_value"].n_unique() == counts[kind].n_unique()
    assert full.figure("test", "accuracy", kind="hour", group="07")["low"] is not None
    assert test["hour"].null_count()


def test_a_taxonomy_gives_figures_at_its_levels(full):
    canids = {"coyote": "Canidae", "fox": "Canidae", "bobcat": "Felidae", "deer": "Cervidae"}
    full.evaluate(taxonomy={"family": canids})
    test = outputs.read_outputs(full.folder / "outputs_test.csv.gz")
    family = np.array([canids[label] for label in test.labels])
    names = sorted(set(family))
    sums = np.stack([test.scores[:, family == name].sum(1) for name in names], axis=1)
    right = np.array(names)[sums.argmax(1)] == np.array([canids[label] for label in test.truth])
    found = full.figure("test", "accuracy", kind="level", group="family")
    assert found["value"] == pytest.approx(right.mean())
    assert found["value"] > full.figure("test", "accuracy")["value"]
    assert full.figure("test", "recall", label="Canidae", kind="level", group="family")["support"] == 36


def test_bursts_are_judged_together_beside_single_crops(tmp_path):
    run = Run(tmp_path, ["a", "b", "c"], {"train": 3, "val": 10, "test": 40}, crops=15, right=0.6)
    # Five crops of one label make a burst; one crop of every place is of none.
    run.examples = run.examples.sort("group_id", pl.col("labels").list.first()).with_columns(
        sequence_id=pl.when(pl.int_range(pl.len()).over("group_id") < 14).then(
            pl.format("{}-{}", "group_id", pl.col("labels").list.first())
        )
    )
    run.evaluate()
    single, burst = run.figure("test", "accuracy")["value"], run.figure("test", "accuracy", "", "unit", "sequence")
    assert run.figure("test", "sequences", "", "unit", "sequence")["value"] == 40 * 4
    assert run.figure("test", "mixed", "", "unit", "sequence")["value"] == 0
    assert burst["value"] > single + 0.05
    assert burst["low"] < burst["value"] < burst["high"]
    crops = run.figure("test", "crop_accuracy", "", "unit", "sequence")["value"]
    scored = table(run, "scored").filter(pl.col("split") == "test")
    assert crops == pytest.approx((scored["sequence_predicted"] == scored["label"]).mean())
    assert scored["sequence"].null_count() == 40


def test_a_burst_of_two_labels_is_counted_and_not_judged(full):
    full.examples = full.examples.with_columns(sequence_id="group_id")
    full.evaluate()
    assert full.figure("test", "mixed", "", "unit", "sequence")["value"] == 12
    assert full.figure("test", "accuracy", "", "unit", "sequence")["reason"] == "no sequences"


def test_the_gap_is_seen_less_held_out_of_the_same_labels(tmp_path):
    run = Run(tmp_path, ["a", "b", "c"], {"train": 14, "val": 10, "test": 12}, crops=12)
    run.examples = run.examples.with_columns(heldback=pl.int_range(pl.len()) % 2 == 0)
    run.evaluate()
    gap = run.figure("test", "gap_macro_recall")
    value = run.figure("seen", "macro_recall")["value"] - run.figure("test", "macro_recall")["value"]
    assert gap["value"] == pytest.approx(value)
    assert gap["low"] < value < gap["high"]


def test_scores_are_calibrated_on_val_and_thresholds_tried_at_test(tmp_path):
    run = Run(tmp_path, ["a", "b", "c"], {"train": 3, "val": 15, "test": 15}, crops=30, right=0.8)
    run.evaluate(precision=0.9)
    known = calibration_json.read(run.folder / "calibration.json", run.labels)
    assert known.method in ("temperature", "vector")
    assert run.figure("test", "ece_calibrated")["value"] < run.figure("test", "ece")["value"]
    scored = table(run, "scored").filter(pl.col("split") == "test")
    test = outputs.read_outputs(run.folder / "outputs_test.csv.gz")
    scores = calibration.apply(known, test.scores)  # what predict does with the file
    wanted = dict(zip(test.crop_ids, scores.max(1), strict=True))
    np.testing.assert_allclose(scored["confidence"], [wanted[crop] for crop in scored["crop_id"]], rtol=1e-4)
    thresholds = table(run, "thresholds").filter(pl.col("split") == "test")
    everything = thresholds.filter(pl.col("label") == "").row(0, named=True)
    kept = scored.filter("automatic")
    assert everything["kept"] == kept.height
    assert everything["coverage"] == pytest.approx(kept.height / scored.height)
    assert everything["precision"] == pytest.approx((kept["label"] == kept["calibrated"]).mean())
    reached = {label: value for label, value in known.thresholds.items() if value is not None}
    for label, least in reached.items():
        sure = scored.filter((pl.col("calibrated") == label) & (pl.col("confidence") >= least))
        row = thresholds.filter(pl.col("label") == label).row(0, named=True)
        assert row["kept"] == sure.height
    assert any("at 90% precision (chosen on val; at test " in line for line in run.log.notes)


def test_test_crops_do_not_touch_calibration_or_thresholds(tmp_path):
    run = Run(tmp_path, ["a", "b", "c"], {"train": 3, "val": 15, "test": 15}, crops=20).evaluate()
    before = (run.folder / "calibration.json").read_bytes()
    flat = pl.lit([1 / 3] * 3, pl.Array(pl.Float32, 3))
    run.predictions = run.predictions.with_columns(
        scores=pl.when(pl.col("crop_id").str.starts_with("d/test")).then(flat).otherwise("scores")
    )
    run.evaluate()
    assert (run.folder / "calibration.json").read_bytes() == before


def test_without_val_nothing_is_calibrated_and_it_says_why(tmp_path):
    run = Run(tmp_path, ["a", "b"], {"train": 3, "test": 12}).evaluate()
    row = run.figure("test", "ece_calibrated")
    assert (row["value"], row["reason"]) == (None, "not calibrated: no val crops")
    assert table(run, "thresholds").height == 0
    assert any("no thresholds chosen: no val crops" in line for line in run.log.notes)
