"""inspect.html as a person meets it, in headless Chromium: what it shows, in what order, and that names stay text."""

import random

import numpy as np
import polars as pl
import pytest
from PIL import Image

from browser import DESKTOP, PHONE, Visit, started
from trapline.core.schemas import EXAMPLES, ISSUES, SPLITS
from trapline.report import inspection

HOSTILE = '<img src=x onerror="alert(1)">'
WISHED = {"train": 0.6, "val": 0.2, "test": 0.2}


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


def tables(n, folder, label=lambda k: ("fox", "hare", HOSTILE)[k % 3]):
    """n crops of 6 groups; a picture of noise each, but for the last crop."""
    rng = np.random.default_rng(0)
    known = {"dataset": "d", "weight": 1.0, "heldback": False}
    rows = [
        dict.fromkeys(EXAMPLES.columns) | known | {"crop_id": f"d/{k:04}.jpg", "image_id": f"i{k}"}
        | {"labels": [label(k)], "group_id": f"g{k % 6}", "location_id": f"place {k % 6}"}
        for k in range(n)
    ]  # fmt: skip
    (folder / "d").mkdir(parents=True)
    for row in rows[:-1]:
        Image.fromarray(rng.integers(0, 255, (140, 140, 3), dtype=np.uint8)).save(folder / row["crop_id"])
    splits = [{"group_id": f"g{g}", "split": ("train", "train", "train", "train", "val", "test")[g]} for g in range(6)]
    splits = pl.DataFrame([dict.fromkeys(SPLITS.columns) | row for row in splits], schema=SPLITS.columns)
    return pl.DataFrame(rows, schema=EXAMPLES.columns), splits


def issues(*rows):
    return pl.DataFrame(rows, schema=ISSUES.columns, orient="row")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    examples, splits = tables(60, folder / "crops")
    found = issues(
        ("d/0003.jpg", "near_duplicate", "nearly the same as d/0009.jpg", 0.4),
        ("d/0004.jpg", "near_duplicate", HOSTILE, 0.9),
        ("d/0059.jpg", "tiny", "9 x 9 px", 0.8),
        ("d/0004.jpg", "likely_wrong_label", "labelled hare, looks like fox", 0.7),
    )
    path = folder / "inspect.html"
    path.write_text(inspection.page(examples, splits, found, folder / "crops", project=HOSTILE, wished=WISHED))
    return path


def test_issues_stand_worst_first_with_their_pictures(browser, written):
    visit = Visit(browser, written)
    page = visit.page
    assert page.locator("h1").inner_text() == "3 of 60 crops, from 6 locations, are worth a look"
    titles = ["Likely wrong labels", "Near-duplicates", "Tiny"]
    assert page.locator("section[id^=kind] h2").all_inner_texts() == titles
    files = page.locator("#kind-1 .file")
    assert files.all_inner_texts() == ["0004.jpg", "0003.jpg"]
    assert files.first.get_attribute("title") == "d/0004.jpg"
    shown = page.locator("#kind-1 img").first
    shown.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#kind-1 img').naturalWidth > 0")
    assert page.locator("#kind-2 .pic").inner_text() == "no picture"
    assert page.locator("#labels h3").count() == 3
    captions = page.locator("#label-0 + .gallery figcaption").all_inner_texts()
    assert len(captions) == inspection.PER_LABEL
    assert {text.split(" · ")[2].split("\n")[0] for text in captions} == {"place 2", "place 5"}  # all that it has
    assert visit.troubles == []


def test_names_stay_text(browser, written):
    visit = Visit(browser, written)
    assert HOSTILE in visit.page.locator("#kind-1 figcaption").first.inner_text()
    assert HOSTILE in visit.page.locator("#splits").inner_text()
    assert visit.page.locator("img:not([src^='data:image/jpeg'])").count() == 0
    assert visit.troubles == []


def test_shares_that_are_extreme_are_marked(browser, written):
    visit = Visit(browser, written)
    rows = {
        row[0]: row[1:]
        for row in (line.split("\t") for line in visit.page.locator("#splits tbody tr").all_inner_texts())
    }
    # fox: of groups 0 and 3, both train; hare: of 1 and 4, half in val; the third: of 2 and 5, half in test.
    assert rows["fox"] == ["20 100%", "0 0% !", "0 0% !"]
    assert rows["hare"] == ["10 50%", "10 50%", "0 0% !"]
    assert rows[HOSTILE] == ["10 50%", "0 0% !", "10 50%"]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_runs_over_the_edge(browser, written, size):
    visit = Visit(browser, written, size)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_a_page_is_small_enough_to_mail(tmp_path, monkeypatch):
    examples, splits = tables(200, tmp_path / "crops")
    monkeypatch.setattr(inspection, "PICTURE_BYTES", 200_000)
    found = issues(*((f"d/{k:04}.jpg", "tiny", "small", random.Random(k).random()) for k in range(100)))
    page = inspection.page(examples, splits, found, tmp_path / "crops", project="p", wished=WISHED)
    assert 150_000 < len(page) < 200_000 + 120_000
    assert page.index("data:image/jpeg") < page.index('id="labels"')
    assert "100 found; the first 48" in page


def test_before_there_is_a_split_or_an_issue(tmp_path):
    examples, _ = tables(3, tmp_path / "crops")
    page = inspection.page(examples, None, ISSUES.empty(), tmp_path / "crops", project="p", wished=WISHED)
    assert "Nothing was found" in page
    assert 'id="splits"' not in page
