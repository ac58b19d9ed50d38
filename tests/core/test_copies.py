import numpy as np
import pytest

from trapline.core import copies as module
from trapline.core.copies import copies
from trapline.core.neighbours import unit

LEAST = 0.995


def crops(n=400, width=96):
    """Unlike crops, pairs that are nearly the same, ten of one kind, one without features."""
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(n, width))) + 0.5
    features[50:100] = features[:50] + rng.normal(0, 0.133, (50, width))  # on both sides of the bound
    features[200:210] = features[200] + rng.normal(0, 0.05, (10, width))
    features[7] = np.nan
    return unit(features)


def expected(units, k, apart):
    """The neighbours of every crop by a product of all, in double precision."""
    alike = units.astype(float) @ units.T.astype(float)
    alike[apart[:, None] == apart] = -1
    return [[int(j) for j in np.argsort(-row, kind="stable")[:k] if row[j] >= LEAST] for row in alike]


@pytest.mark.parametrize("block", [64 * 2**20, 4 * 400 * 30])
@pytest.mark.parametrize("pairs", [4_000_000, 3])
def test_copies_are_those_of_all_pairs(monkeypatch, block, pairs):
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    monkeypatch.setattr(module, "PAIRS", pairs)
    units, apart = crops(), np.arange(400)
    wanted = expected(units, 5, apart)
    assert 20 < sum(bool(found) for found in wanted[:50]) < 45  # the bound divides them
    found = copies(units, 5, LEAST, apart)
    for row in range(400):
        assert [j for j in found.index[row] if j >= 0] == wanted[row]
    assert (found.index[7] == -1).all()
    assert (np.diff(found.similarity[200]) <= 0).all()


def test_a_burst_does_not_crowd_out_the_others():
    features = np.random.default_rng(4).normal(size=(6, 80))
    features[1:] = features[0]
    found = copies(unit(features), 2, LEAST, np.array([0, 0, 0, 0, 1, 2]))
    assert {*found.index[0]} == {*found.index[3]} == {4, 5}


def test_nothing_to_compare():
    assert copies(np.zeros((0, 80), np.float32), 3, LEAST, np.arange(0)).index.shape == (0, 3)
    assert (copies(np.zeros((4, 80), np.float32), 3, LEAST, np.arange(4)).index == -1).all()


def test_beyond_the_bound_an_index_finds_the_same_copies(monkeypatch):
    monkeypatch.setattr(module, "MOST_EXACT", 300)
    units, apart = crops(), np.arange(400)
    wanted = expected(units, 5, apart)
    found = copies(units, 5, LEAST, apart)
    alike = [set(row) - {-1} == set(other) for row, other in zip(found.index.tolist(), wanted, strict=True)]
    assert np.mean([same for same, other in zip(alike, wanted, strict=True) if other]) > 0.9
    assert all(same for same, other in zip(alike, wanted, strict=True) if not other)
