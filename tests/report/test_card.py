from dataclasses import replace

import polars as pl

from reports import draw_material
from trapline.report import card, page

LABELS = ["bobcat", "coyote", "mule deer", "fox"]


def sections(text):
    found = {part.split("\n")[0]: part for part in text.split("\n## ")}
    return {name.removeprefix("# "): part for name, part in found.items()}


def test_the_cards_figures_are_a_plain_count(tmp_path):
    material = draw_material(LABELS, 2_000, tmp_path)
    test = material.crops.filter(split="test")
    right = (test["label"] == test["predicted"]).mean()
    found = sections(card.render(material))
    assert list(found) == [
        "Model card: 001-drawn", "What it names", "Data", "Results at test", "Labels", "Where it fails", "Limits",
        "Intended use", "Provenance",
    ]  # fmt: skip
    assert f"| Locations never seen (test) | {test.height:,} | 12 | 4 |" in found["Data"]
    row = next(line for line in found["Results at test"].splitlines() if line.startswith("| Accuracy over all crops"))
    assert row.split("|")[2].strip() == f"{right:.0%}"
    own = test.filter(label="fox")
    row = next(line for line in found["Labels"].splitlines() if line.startswith("| fox"))
    assert row.split("|")[2].strip() == str(own.height)
    assert row.split("|")[4].strip().startswith(f"{(own['predicted'] == 'fox').mean():.0%} (")
    assert row.split("|")[6].strip() == "–"  # the drawn tables say that the last label never gets there
    worst = test.group_by("location").agg(r=(pl.col("label") == pl.col("predicted")).mean()).sort("r", "location")
    assert f"Worst locations: {worst['location'][0]} ({worst['r'][0]:.0%} of " in found["Where it fails"]
    assert "1 label never reaches it, so a person looks at all of its crops: fox." in found["Model card: 001-drawn"]
    assert "- Evaluated by: trapline 0.1.0" in found["Provenance"]


def test_it_stays_one_page_with_two_hundred_labels(tmp_path):
    found = card.render(draw_material([f"label {n:03d}" for n in range(120)], 6_000, tmp_path))
    assert len(found.splitlines()) < 110
    assert "95 rarer labels are in the report." in found


def test_hostile_names_are_no_markup(tmp_path):
    hostile = ["a|b\n# c", "<script>alert(1)</script>", "[x](javascript:alert(2))", "`rm`"]
    found = card.render(draw_material(hostile, 500, tmp_path, params={"labels": hostile, "scores_of": "**my** tool"}))
    assert "a\\|b \\# c" in found
    assert "&lt;script&gt;" in found
    assert "<" not in found
    assert "\\[x\\](javascript" in found
    assert "# Model card: \\*\\*my\\*\\* tool" in found
    assert "\n# c" not in found


def test_of_another_tool_it_claims_nothing_about_its_training(tmp_path):
    drawn = draw_material(LABELS, 500, tmp_path)
    known = drawn.metrics.filter(split="test", name="macro_recall", group_kind="")
    both = [known.with_columns(split=pl.lit("seen")), known.with_columns(name=pl.lit("gap_macro_recall"))]
    own = replace(drawn, metrics=pl.concat([drawn.metrics, *both]))
    assert "locations it was trained on" in card.render(own)
    assert "locations it was trained on" in page.render(own)
    other = replace(own, params={"labels": LABELS, "scores_of": "MIRA"})
    for found in (card.render(other), page.render(other)):
        assert "trained on" not in found.replace("Trained on", "")
        assert "truly new" not in found
    found = card.render(other)
    assert "never seen" not in found
    assert "What its makers intended it for is not known here" in found


def test_without_scored_crops_it_says_so(tmp_path):
    drawn = draw_material(LABELS, 500, tmp_path)
    material = draw_material(LABELS, 500, tmp_path, metrics=drawn.metrics.clear(), tables={})
    assert "No crop could be scored" in card.render(material)
