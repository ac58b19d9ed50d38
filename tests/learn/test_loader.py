import threading
import time

import numpy as np
import pytest

from trapline.learn.loader import PREFETCH, batches, load_ahead, sampling_weights


def examples_of(order):
    return [drawn.example for batch in order for drawn in batch]


def test_batch_order_is_a_pure_function():
    weights = np.full(20, 1 / 20)
    first = batches(20, 4, seed=0, epoch=1, weights=weights)
    np.random.seed(3)
    batches(20, 4, seed=9, epoch=9, weights=None)
    assert batches(20, 4, seed=0, epoch=1, weights=weights) == first
    others = [
        batches(20, 4, seed=1, epoch=1, weights=weights),
        batches(20, 4, seed=0, epoch=2, weights=weights),
        batches(20, 4, seed=0, epoch=1, weights=None),
    ]
    assert all(other != first for other in others)


def test_batch_order_stays_what_it_was():
    """A change here breaks the exact resume of trainings under way: then raise the train stage's version."""
    assert examples_of(batches(8, 3, seed=0, epoch=1, weights=None)) == [7, 4, 5, 2, 3, 0, 6, 1]


def test_without_weights_every_example_comes_once():
    order = batches(23, 5, seed=0, epoch=1, weights=None)
    assert sorted(examples_of(order)) == list(range(23))
    assert [len(batch) for batch in order] == [5, 4, 5, 4, 5]  # no small last batch
    assert all(drawn.draw == 0 for batch in order for drawn in batch)


def test_balanced_sampling_draws_every_label_equally_often():
    labels = np.repeat([0, 1, 2], [1000, 90, 10])
    shares = sampling_weights(labels, np.ones(1100), balanced=True)
    assert shares is not None
    drawn = np.concatenate([examples_of(batches(1100, 32, seed=0, epoch=e, weights=shares)) for e in range(30)])
    np.testing.assert_allclose(np.bincount(labels[drawn]) / len(drawn), 1 / 3, atol=0.01)


def test_weights_count_within_a_label_and_zero_means_never():
    labels = np.array([0, 0, 0, 1])
    shares = sampling_weights(labels, np.array([3.0, 1.0, 0.0, 5.0]), balanced=True)
    assert shares is not None
    np.testing.assert_allclose(shares, [0.375, 0.125, 0, 0.5])
    assert sampling_weights(labels, np.ones(4), balanced=False) is None
    shares = sampling_weights(labels, np.array([1.0, 1, 1, 5]), balanced=False)
    assert shares is not None
    np.testing.assert_allclose(shares, [0.125] * 3 + [0.625])


def test_repeated_draws_are_counted():
    order = batches(6, 3, seed=0, epoch=1, weights=np.array([1.0, 0, 0, 0, 0, 0]))
    assert [(d.example, d.draw) for batch in order for d in batch] == [(0, k) for k in range(6)]


def test_loading_keeps_order_whatever_finishes_first():
    groups = [[3, 1], [2], [0, 4]]

    def load(item):
        time.sleep(0.01 * (item % 4))
        return item * 10

    assert list(load_ahead(groups, load, 4)) == [([3, 1], [30, 10]), ([2], [20]), ([0, 4], [0, 40])]


def test_loading_runs_only_a_few_groups_ahead():
    loaded = []
    stream = load_ahead([[k] for k in range(50)], loaded.append, 1)
    next(stream)
    time.sleep(0.1)
    assert len(loaded) <= PREFETCH + 1
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("load")]


def test_an_error_comes_out_at_its_place():
    def load(item):
        if item == 2:
            raise ValueError("broken")
        return item

    stream = load_ahead([[0], [1], [2], [3]], load, 2)
    assert [next(stream), next(stream)] == [([0], [0]), ([1], [1])]
    with pytest.raises(ValueError, match="broken"):
        next(stream)
