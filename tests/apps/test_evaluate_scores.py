import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

from trapline.apps.evaluate_scores import evaluate_scores
from trapline.cli import run_command
from trapline.core.config import EvaluateConfig
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import example_csv, score_csv

LABELS = ["coyote", "elk", "mule_deer"]


class Tool:
    """Scores of some tool for crops of 12 locations, and a table that says what is on them."""

    def __init__(self, folder, *, right=0.8, prefix=""):
        rng = np.random.default_rng(0)
        self.folder = folder
        self.truth = [LABELS[n % 3] for n in range(120)]
        self.crops = [f"site {n % 12}/{n:03d}.jpg" for n in range(120)]
        scores = rng.dirichlet(np.ones(3), 120) * 0.4
        for n, label in enumerate(self.truth):
            scores[n, LABELS.index(label) if rng.random() < right else rng.integers(3)] += 0.6
        self.scores = scores.astype(np.float32)
        self.csv, self.examples = folder / "tool.csv", folder / "examples.csv"
        score_csv.write(self.csv, pl.Series([prefix + crop for crop in self.crops]), LABELS, self.scores)
        rows = [f"{crop},{label},{crop.split('/')[0]}" for crop, label in zip(self.crops, self.truth, strict=True)]
        self.examples.write_text("\n".join(["path,label,location", *rows]) + "\n")

    def evaluate(self, **options):
        self.log = Log()
        examples, splits, _ = example_csv.read(self.examples)
        files = options.pop("scores", [self.csv])
        cfg = EvaluateConfig(gallery=4)
        return evaluate_scores(files, examples, splits, self.folder / "out", cfg, log=self.log, **options)


def value(metrics, name, label=""):
    return metrics.filter(split="test", name=name, label=label, group_kind="")["value"].item()


def test_figures_are_a_plain_count(tmp_path):
    tool = Tool(tmp_path)
    metrics = tool.evaluate()
    named, truth = np.array(LABELS)[tool.scores.argmax(1)], np.array(tool.truth)
    assert value(metrics, "accuracy") == pytest.approx((named == truth).mean())
    assert value(metrics, "recall", "elk") == pytest.approx((named == truth)[truth == "elk"].mean())
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.html", "metrics.parquet", "outputs_test.csv.gz", "scored.parquet"} <= written


def test_a_target_mapping_sums_probabilities_and_maps_true_labels(tmp_path):
    tool = Tool(tmp_path)
    (tmp_path / "map.json").write_text(json.dumps({"deer": ["elk", "mule_deer"]}))
    metrics = tool.evaluate(mapping=tmp_path / "map.json")
    deer = tool.scores[:, 1] + tool.scores[:, 2]
    is_deer = np.array(tool.truth) != "coyote"
    assert value(metrics, "accuracy") == pytest.approx(((deer > tool.scores[:, 0]) == is_deer).mean())
    assert value(metrics, "recall", "deer") == pytest.approx((deer > tool.scores[:, 0])[is_deer].mean())
    assert value(metrics, "recall", "other") == pytest.approx((deer <= tool.scores[:, 0])[~is_deer].mean())
    assert any("3 labels become 2: deer (2); other (1)" in note for note in tool.log.notes)


def test_paths_below_another_folder_are_the_same_crops(tmp_path):
    tool = Tool(tmp_path, prefix="/data/crops/")
    assert value(tool.evaluate(), "crops") == 120
    assert "paths of the scores: /data/crops/ was cut off its paths" in tool.log.notes


def test_several_files_are_one(tmp_path):
    tool = Tool(tmp_path)
    files = [tmp_path / "a.csv", tmp_path / "b.csv.gz"]
    for path, chosen in zip(files, (slice(0, 50), slice(50, 120)), strict=True):
        score_csv.write(path, pl.Series(tool.crops[chosen]), LABELS, tool.scores[chosen])
    assert value(tool.evaluate(scores=files), "crops") == 120
    score_csv.write(files[1], pl.Series(tool.crops[30:]), LABELS, tool.scores[30:])
    with pytest.raises(InputError, match="20 crops are scored twice"):
        tool.evaluate(scores=files)
    score_csv.write(files[1], pl.Series(tool.crops[50:]), LABELS[::-1], tool.scores[50:])
    with pytest.raises(InputError, match="has other labels than"):
        tool.evaluate(scores=files)


def test_what_is_missing_on_either_side_is_counted(tmp_path):
    tool = Tool(tmp_path)
    score_csv.write(tool.csv, pl.Series([*tool.crops[:100], "elsewhere.jpg"]), LABELS, tool.scores[:101])
    tool.evaluate()
    assert str(tool.log.accounts[0]) == "101 scored paths -> 100 of examples; left out 1 of no example"
    assert str(tool.log.accounts[1]) == "120 examples -> 100 scored crops; left out 20 without a prediction"


def test_other_crops_altogether_are_refused(tmp_path):
    tool = Tool(tmp_path)
    score_csv.write(tool.csv, pl.Series([f"x{n}.png" for n in range(3)]), LABELS, tool.scores[:3])
    with pytest.raises(InputError, match=r"none of 3 paths .* is an example's \(scores: x0.png; examples: site"):
        tool.evaluate()


def test_the_report_claims_nothing_about_what_it_was_trained_on(tmp_path):
    Tool(tmp_path).evaluate(name="MIRA <b>2</b>")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "MIRA &lt;b&gt;2&lt;/b&gt; named" in page
    assert "At the 12 locations it was tried at" in page
    assert "whether it has seen these locations, or these very images, is not known" in page
    assert "never seen" not in page
    assert "<b>2</b>" not in page


def test_a_table_from_outside_brings_no_other_picture_into_the_page(tmp_path):
    tool = Tool(tmp_path, right=0.2)
    Image.new("RGB", (30, 30), (200, 0, 0)).save(tmp_path / "secret.jpg")
    (tmp_path / "crops").mkdir()
    for path in (tool.examples, tool.csv):
        path.write_text(path.read_text().replace(f"\n{tool.crops[0]},", "\n../secret.jpg,"))
    tool.evaluate(crops_dir=tmp_path / "crops")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "../secret.jpg" in page
    assert '"pictures":[]' in page
    assert 'src="data:image' not in page


def test_the_command(tmp_path, capfd):
    Tool(tmp_path)
    given = ["evaluate", "--outputs", str(tmp_path / "tool.csv"), "--examples", str(tmp_path / "examples.csv")]
    assert run_command([*given, "--out", str(tmp_path / "out")]) == 0
    assert f"report: {tmp_path / 'out' / 'report.html'}" in capfd.readouterr().out.replace("\n", "")
    assert run_command(given) == 2
    assert "--outputs needs --out FOLDER" in capfd.readouterr().err
    assert run_command(["evaluate", "--target-mapping", "x.json"]) == 2
    assert "--target-mapping: only together with --outputs" in capfd.readouterr().err


def test_needs_no_torch(tmp_path):
    Tool(tmp_path)
    code = (
        "import sys; from trapline.cli import run_command;"
        "rc = run_command(['evaluate', '--outputs', 'tool.csv', '--examples', 'examples.csv', '--out', 'out']);"
        "sys.exit(rc or ('torch' in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert ran.returncode == 0
