import numpy as np
import pytest

from trapline.core import rollup
from trapline.core.rollup import answer, choose, ladder, trial

LABELS = ["bear", "coyote", "dog", "lynx", "truck"]
TAXONOMY = {
    "genus": {"bear": "Ursus", "coyote": "Canis", "dog": "Canis", "lynx": "Lynx"},
    "family": {"bear": "Ursidae", "coyote": "Canidae", "dog": "Canidae", "lynx": "Felidae"},
    "order": dict.fromkeys(LABELS[:4], "Carnivora"),
    "world": dict.fromkeys(LABELS, "everything"),
}
STEPS = ladder(LABELS, TAXONOMY)


def named(scores, least):
    found = answer(np.array(scores, np.float32), STEPS, np.array(least))
    names, levels = STEPS.names, STEPS.levels
    return [(names[n], levels[n], round(float(p), 2)) for n, p in zip(found.number, found.confidence, strict=True)]


def test_a_taxon_that_says_nothing_new_is_no_answer():
    # Ursus is the bear, Canidae are Canis, and "everything" is always true
    assert STEPS.names == [*LABELS, "Canis", "Carnivora", "unsure"]
    assert STEPS.levels == [*["label"] * 5, "genus", "order", ""]
    assert ladder(LABELS, {}).names == [*LABELS, "unsure"]


def test_the_lowest_taxon_that_is_sure_enough():
    rows = [
        [0.02, 0.95, 0.01, 0.01, 0.01],  # the species
        [0.02, 0.5, 0.45, 0.02, 0.01],  # neither species, but Canis
        [0.3, 0.3, 0.2, 0.15, 0.05],  # only the order
        [0.1, 0.2, 0.1, 0.1, 0.5],  # nothing: the truck has no taxon
    ]
    expected = [("coyote", "label", 0.95), ("Canis", "genus", 0.95), ("Carnivora", "order", 0.95), ("unsure", "", 0.5)]
    assert named(rows, [0.9] * 7) == expected


def test_every_answer_has_its_own_threshold():
    row = [[0.02, 0.5, 0.45, 0.02, 0.01]]
    assert named(row, [0.9, 0.4, 0.9, 0.9, 0.9, 0.9, 0.9])[0][0] == "coyote"
    assert named(row, [0.9] * 5 + [np.inf, 0.9])[0][0] == "Carnivora"
    assert named(row, [np.inf] * 7) == [("unsure", "", 0.5)]


def test_long_tables_are_read_in_pieces(monkeypatch):
    scores = np.random.default_rng(0).dirichlet(np.ones(5) * 0.4, 300).astype(np.float32)
    whole = answer(scores, STEPS, np.full(7, 0.8))
    monkeypatch.setattr(rollup, "CHUNK", 7)
    assert answer(scores, STEPS, np.full(7, 0.8)).number.tolist() == whole.number.tolist()
    # each by hand
    for row, number, confidence in zip(scores, whole.number, whole.confidence, strict=True):
        sums = [*row, row[1] + row[2], row[:4].sum()]
        first = next((n for n, p in enumerate(sums[:5]) if p >= 0.8), None)
        first = first if first is not None else next((n for n, p in enumerate(sums) if p >= 0.8), 7)
        assert number == first
        assert confidence == pytest.approx(sums[first] if first < 7 else row.max(), abs=1e-6)


def draw(rng, n, easy):
    """Crops of which some are easily told, and the others never surely; hard ones are Canis in six of ten cases."""
    scores, truth = np.zeros((n, 5), np.float32), np.zeros(n, int)
    hard = rng.random(n) > easy
    truth[~hard] = rng.choice([1, 2], (~hard).sum())
    scores[~hard, truth[~hard]] = 0.99
    scores[~hard] += 0.002
    scores[hard] = [0.05, 0.45, 0.4, 0.05, 0.05]
    truth[hard] = rng.choice([1, 2, 4], hard.sum(), p=[0.3, 0.3, 0.4])
    return scores, truth, rng.integers(0, 30, n)


def test_easy_crops_of_a_taxon_do_not_make_its_hard_ones_look_right():
    scores, truth, group = draw(np.random.default_rng(1), 4000, easy=0.95)
    of_labels = np.full(5, 0.9)
    least, why = choose(scores, truth, group, STEPS, of_labels, 0.9)
    assert np.isinf(least[5])  # over all crops of Canis 98 of 100 are right; of those left, six of ten
    assert "Canis" in why
    assert least[:5].tolist() == of_labels.tolist()


def test_a_taxon_that_is_right_is_given_and_tried():
    rng = np.random.default_rng(2)
    scores = np.tile(np.array([[0.02, 0.5, 0.46, 0.01, 0.01]], np.float32), (2000, 1))
    truth, group = rng.choice([1, 2, 3], 2000, p=[0.5, 0.47, 0.03]), rng.integers(0, 20, 2000)
    least, _ = choose(scores, truth, group, STEPS, np.full(5, np.inf), 0.9)
    assert least[5] <= 0.96
    found = trial(scores, truth, group, STEPS, least, {}, "test")
    canis = found.table.filter(answer="Canis").row(0, named=True)
    assert (canis["crops"], canis["labels"]) == (2000, "coyote; dog")
    assert canis["precision"] == pytest.approx((truth < 3).mean())
    assert canis["low"] < canis["precision"] < canis["high"]
    assert (
        "roll-up at test: 2,000 of 2,000 crops are given a taxon instead of a label, 97% of them right (9"
        in found.words
    )
