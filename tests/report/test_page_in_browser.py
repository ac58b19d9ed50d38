import time
from dataclasses import replace

import polars as pl
import pytest

from browser import PHONE, Visit, started
from reports import draw_material
from trapline.report.page import render

LABELS = ["bobcat", "coyote", "mule deer", "fox", "striped skunk", "empty"]
HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "<!--<script>",
    "{{ 7 * 7 }}",
    "' onclick=alert(3) '",
    "javascript:alert(4)",
]


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A page of six labels, and what it was made of."""
    folder = tmp_path_factory.mktemp("drawn")
    material = draw_material(LABELS, 1_000, folder / "crops", pictures=120)
    (folder / "report.html").write_text(render(material))
    return folder / "report.html", material


@pytest.fixture
def visit(browser, drawn):
    found = Visit(browser, drawn[0])
    yield found
    found.page.close()
    assert found.troubles == []


def of_test(material):
    return material.crops.filter(split="test")


def names_shown(page):
    return page.locator("#cell .file").all_inner_texts() + [
        text.split("\n")[0] for text in page.locator("#cell li").all_inner_texts()
    ]


def test_a_click_on_a_cell_shows_its_crops(visit, drawn):
    page, crops = visit.page, of_test(drawn[1])
    counted = crops.filter(pl.col("label") != pl.col("predicted")).group_by("label", "predicted").len()
    label, named, number = counted.sort("len", "label", "predicted", descending=True).row(0)
    expected = crops.filter(label=label, predicted=named)["crop_id"].to_list()
    page.get_by_role(
        "button", name=f"{label} ({100 * number / crops.filter(label=label).height:.0f}%) named {named}"
    ).click()
    assert page.locator("#cell").is_visible()
    assert page.locator("#cell-title").inner_text() == f"{label} named {named}"
    assert page.locator("#cell-note").inner_text() == f"{number} crops, the surest first."
    assert sorted(names_shown(page)) == sorted(expected)
    shown = page.locator("#cell img")
    assert shown.count() > 0
    assert all(shown.nth(n).evaluate("i => i.complete && i.naturalWidth > 0") for n in range(shown.count()))
    page.keyboard.press("Escape")
    assert not page.locator("#cell").is_visible()


def test_every_cell_opens_and_says_its_count(visit, drawn):
    page, crops = visit.page, of_test(drawn[1])
    buttons = page.locator(".matrix button")
    assert buttons.count() == crops.select("label", "predicted").n_unique()
    for n in range(buttons.count()):
        buttons.nth(n).click()
        note = page.locator("#cell-note").inner_text()
        assert note.split()[0] == buttons.nth(n).inner_text(), note
        page.locator("#cell .close").click()


def test_confusions_in_words_open_the_same_crops(visit, drawn):
    page = visit.page
    link = page.locator("#confusion table.narrow button.link").first
    number = int(link.inner_text())
    link.click()
    assert len(names_shown(page)) == number
    page.locator("#cell .close").click()
    page.locator("#labels button.link").first.click()
    assert " named " in page.locator("#cell-title").inner_text()


def test_the_explorer_counts_what_a_threshold_saves(visit, drawn):
    page, crops = visit.page, of_test(drawn[1])
    for label in ("", "coyote"):
        own = crops.filter(calibrated=label) if label else crops
        page.select_option("#explorer-label", label=label or "anything (all labels)")
        for threshold in (0.0, 0.63, 0.9):
            page.locator("#explorer-threshold").fill(str(round(100 * threshold)))
            kept = own.filter(pl.col("confidence") >= threshold)
            wrong = kept.filter(pl.col("calibrated") != pl.col("label")).height
            assert page.locator("#explorer-words").inner_text() == (
                f"{100 * kept.height / own.height:.1f}% of {own.height} crops need no person; "
                f"{100 * (1 - wrong / kept.height):.1f}% of those are right, {wrong} wrong."
            )
            assert page.locator("#explorer-value").inner_text() == f"{threshold:.0%}"


def test_a_wished_precision_is_chosen_on_val_and_told_of_test(visit, drawn):
    page, val = visit.page, drawn[1].crops.filter(split="val")
    right = {
        t: val.filter(pl.col("confidence") >= t / 100).select((pl.col("label") == pl.col("calibrated")).mean()).item()
        for t in range(101)
    }
    least = min(t for t, share in right.items() if share is not None and share >= 0.95)
    page.get_by_role("button", name="95%", exact=True).click()
    assert page.locator("#explorer-value").inner_text() == f"{least}%"
    kept = of_test(drawn[1]).filter(pl.col("confidence") >= least / 100).height
    assert page.locator("#explorer-words").inner_text().startswith(f"{100 * kept / of_test(drawn[1]).height:.1f}% of ")


def test_a_heading_sorts_its_table(visit):
    page = visit.page
    page.locator("#labels th button", has_text="Crops").click()
    cells = page.locator("#labels tbody tr td:nth-child(2)")
    column = [int(text) for text in cells.all_inner_texts()]
    assert column == sorted(column)
    page.locator("#labels th button", has_text="Crops").click()
    assert [int(text) for text in cells.all_inner_texts()] == column[::-1]


def test_hostile_names_stay_text(browser, tmp_path):
    material = draw_material(HOSTILE, 400, tmp_path / "crops")
    nasty = pl.format("d/{}{}.jpg", pl.lit("<svg onload=alert(5)></script>"), pl.col("crop_id"))
    is_place = pl.col("group_kind") == "location"
    material = replace(
        material,
        crops=material.crops.with_columns(crop_id=nasty, location=pl.col("location") + HOSTILE[0]),
        metrics=material.metrics.with_columns(
            group_value=pl.when(is_place).then(pl.col("group_value") + HOSTILE[0]).otherwise("group_value")
        ),
        params={"labels": HOSTILE, "config": {"model": HOSTILE[1]}, "machine": HOSTILE[1]},
    )
    (tmp_path / "report.html").write_text(render(material))
    found = Visit(browser, tmp_path / "report.html")
    page = found.page
    scripts = page.locator("script").count()
    assert scripts == 3  # the crops, the curves, and our own code
    for n in range(page.locator(".matrix button").count()):
        page.locator(".matrix button").nth(n).click()
        page.locator("#cell .close").click()
    page.locator(".matrix button").first.click()
    assert "<svg onload=alert(5)></script>" in names_shown(page)[0]
    page.keyboard.press("Escape")
    for n in range(len(HOSTILE)):
        page.select_option("#explorer-label", index=n + 1)
    page.get_by_role("button", name="95%", exact=True).click()
    assert page.locator("#explorer-label option").all_inner_texts()[1:] == sorted(HOSTILE)
    assert page.locator("script").count() == scripts
    assert page.locator("img[src=x], svg[onload], [onerror], [onclick]").count() == 0
    page.close()
    assert found.troubles == []


def test_it_is_read_on_a_phone(browser, drawn):
    found = Visit(browser, drawn[0], PHONE)
    page = found.page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    page.locator(".matrix button").first.click()
    box = page.locator("#cell").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE[0]
    page.locator("#cell .close").click()
    page.locator("#explorer-threshold").fill("50")
    assert page.locator("#explorer-words").is_visible()
    small = page.evaluate(
        "[...document.querySelectorAll('p, td, th, dd, li')].filter(e => e.offsetParent && e.textContent.trim() && "
        "!e.closest('.matrix') && parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert small == 0
    page.close()
    assert found.troubles == []


def test_it_prints_without_its_controls(browser, drawn):
    found = Visit(browser, drawn[0])
    page = found.page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#explorer-threshold").is_visible()
    assert page.locator("#confusion .matrix").is_visible()
    assert page.locator("#sure polyline").first.is_visible()
    assert page.pdf(format="A4")[:5] == b"%PDF-"
    page.close()
    assert found.troubles == []


def test_every_figure_is_told_in_words(visit):
    drawings = visit.page.locator("svg[role=img]")
    assert drawings.count() > 10
    assert all(drawings.nth(n).get_attribute("aria-label") for n in range(drawings.count()))
    assert visit.page.locator("svg:not([role=img]):not([aria-hidden])").count() == 0
    assert visit.page.locator("img:not([alt])").count() == 0
    assert visit.page.locator(".matrix button:not([aria-label])").count() == 0


@pytest.mark.slow
def test_a_hundred_labels_and_fifty_thousand_crops_fit(browser, tmp_path):
    labels = [f"a species with a long name {n:03d}" for n in range(100)]
    material = draw_material(labels, 100_000, tmp_path / "crops", locations=60, pictures=50_000)
    assert of_test(material).height > 49_000
    path = tmp_path / "report.html"
    path.write_text(render(material))
    assert 5e6 < path.stat().st_size < 15e6
    begin = time.monotonic()
    found = Visit(browser, path, PHONE)
    page = found.page
    page.locator(".matrix button").nth(1).click()
    assert page.locator("#cell").is_visible()
    assert time.monotonic() - begin < 10
    page.close()
    assert found.troubles == []
