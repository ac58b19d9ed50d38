import numpy as np
import polars as pl
import pytest

from trapline.core import gain, sequences
from trapline.core.answering import judge
from trapline.core.rollup import ladder

STEPS = ladder(["coyote", "fox", "lynx"], {"family": {"coyote": "Canidae", "fox": "Canidae", "lynx": "Felidae"}})
LEAST = np.full(4, 0.8)


def names(found):
    return [STEPS.names[n] for n in found.number]


def test_a_box_bears_its_bursts_answer_unless_it_is_sure_of_another():
    scores = np.array(
        [[0.01, 0.98, 0.01], [0.3, 0.6, 0.1], [0.01, 0.98, 0.01], [0.01, 0.98, 0.01], [0.01, 0.98, 0.01],
         [0.05, 0.05, 0.9], [0.5, 0.45, 0.05]], np.float32,
    )  # fmt: skip
    found = judge(scores, np.array([0, 0, 1, 1, 1, 1, 2]), STEPS, LEAST)
    assert names(found.alone) == ["fox", "Canidae", "fox", "fox", "fox", "lynx", "Canidae"]
    assert names(found.burst) == ["fox", "fox", "Canidae"]
    assert names(found.within) == ["fox", "fox", "fox", "fox", "fox", "lynx", "Canidae"]
    assert found.second.tolist()[-1] == 1


def test_pieces_break_no_sequence(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3) * 0.3, 400).astype(np.float32)
    sequence = np.unique(np.sort(rng.integers(0, 90, 400)), return_inverse=True)[1]
    lists = rng.integers(0, 2, 400), np.array([[True, True, False], [True, True, True]])
    whole = judge(scores, sequence, STEPS, LEAST, lists=lists)
    monkeypatch.setattr(sequences, "CHUNK", 5)
    pieces = judge(scores, sequence, STEPS, LEAST, lists=lists)
    for part in ("alone", "burst", "within"):
        assert getattr(pieces, part).number.tolist() == getattr(whole, part).number.tolist()
    np.testing.assert_allclose(whole.removed, np.where(lists[0] == 0, scores[:, 2], 0), atol=1e-6)


@pytest.mark.parametrize("rule", ["mean_log", "mean", "surest"])
def test_a_bursts_probabilities_sum_to_one_and_agree_with_its_label(rule):
    scores = np.random.default_rng(1).dirichlet(np.ones(4), 60).astype(np.float32)
    sequence = np.arange(60) // 3
    found = sequences.probabilities(scores, sequence, rule)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    told = sequences.aggregate(scores, np.zeros(60, int), np.zeros(60, int), sequence, rule)
    assert found.argmax(1).tolist() == told.predicted.tolist()


def test_what_is_looked_at_first():
    def box(file, sequence, first_p, likeliest="deer", answer="unsure", burst=None, **more):
        return {"file": file, "detection": 0, "sequence": sequence, "answer": answer,
                "level": "" if answer == "unsure" else "label", "likeliest": likeliest, "first_p": first_p,
                "second": "fox", "second_p": 1 - first_p, "burst_likeliest": burst or likeliest, "removed": 0.0,
                "unlike": None, "needs_person": answer == "unsure"} | more  # fmt: skip

    rows = [box(f"sure{n}", n, 0.99, answer="deer") for n in range(20)]
    rows += [box("doubtful", 20, 0.5), box("less", 21, 0.6), box("again", 20, 0.51),
             box("contradicted", 22, 0.6, burst="fox"), box("odd", 23, 0.6, unlike=True),
             box("rare", 24, 0.6, "lynx"), box("first", 25, 0.99, "emu", "emu")]  # fmt: skip
    found = gain.rank(pl.DataFrame(rows, schema_overrides={"unlike": pl.Boolean}))
    order = found["file"].to_list()
    assert not any(name.startswith("sure") for name in order)
    assert order.index("rare") < order.index("contradicted") == order.index("odd") - 1
    assert (
        order.index("odd") < order.index("doubtful") < order.index("less") < order.index("again") < order.index("first")
    )
    reasons = dict(found.select("file", "reason").rows())
    assert "but its burst says fox" in reasons["contradicted"]
    assert "unlike anything in training" in reasons["odd"]
    assert reasons["first"] == "rare: 1 sequence(s) of emu"
