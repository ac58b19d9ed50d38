import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss
from torch import nn

from trapline.learn.schedule import Average, averaging_decay, lr_factor
from trapline.learn.validation import Judgement, balanced_loss, judge


def test_the_rate_rises_linearly_and_falls_to_nearly_nothing():
    factors = [lr_factor("cosine", step, 100, 10) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.001
    assert lr_factor("cosine", 0, 1, 1) == 1.0


def test_the_average_follows_early_and_steadies_later():
    decays = [averaging_decay(step, per_epoch=20) for step in range(400)]
    assert decays == sorted(decays)
    assert decays[0] == 0.1
    assert decays[-1] == pytest.approx(1 - 1 / 41)


def test_average_of_weights_and_statistics():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(model)
    start = {name: value.clone() for name, value in average.model.state_dict().items()}
    with torch.no_grad():
        model.state_dict()["0.weight"] += 1
        model.state_dict()["1.running_mean"] += 2
        model.state_dict()["1.num_batches_tracked"] += 7
    average.update(0.75)
    after = average.model.state_dict()
    torch.testing.assert_close(after["0.weight"], start["0.weight"] + 0.25)
    torch.testing.assert_close(after["1.running_mean"], start["1.running_mean"] + 0.5)
    assert after["1.num_batches_tracked"] == 7
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_the_old_chains_rate_falls_after_every_epoch():
    factors = [lr_factor("decay", step, 100, 10) for step in range(100)]
    assert factors[:10] == [1.0] * 10
    assert factors[24] == pytest.approx(0.97 ** (2 / 2.4))
    assert factors[95] == pytest.approx(0.97 ** (9 / 2.4))


def test_judge_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(4), 50)
    targets = rng.integers(0, 3, 50)  # label 3 does not occur
    found = judge(scores, targets)
    assert found.macro_recall == pytest.approx(
        np.mean([(scores.argmax(1) == k)[targets == k].mean() for k in range(3)])
    )
    assert found.loss == pytest.approx(log_loss(targets, scores, labels=range(4)))
    kept = scores[:, :3] / scores[:, :3].sum(1, keepdims=True)
    assert judge(kept, targets).macro_recall == pytest.approx(balanced_accuracy_score(targets, kept.argmax(1)))


def test_the_best_epoch_is_the_one_with_the_least_balanced_loss_or_the_most_recall():
    steady, lucky = Judgement(0.5, 0.8, 0.0, None, 0.6), Judgement(0.4, 0.9, 0.0, None, 0.7)
    by_loss, by_recall = ([one.merit(by) or () for one in (steady, lucky)] for by in ("balanced_loss", "macro_recall"))
    assert by_loss[0] > by_loss[1]
    assert by_recall[0] < by_recall[1]
    low, high = (Judgement(loss, 0.8, 0.0).merit("macro_recall") or () for loss in (0.5, 0.6))
    assert low > high
    assert Judgement(0.5, 0.8, 0.0, mean_ap=0.3).merit("balanced_loss") == (0.3, -0.5)
    assert Judgement(None, None, None).merit("balanced_loss") is None


def test_the_balanced_loss_weighs_labels_alike_whatever_the_confidence():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 2, (200, 3)), np.repeat([0, 1, 2], [150, 40, 10])
    logits[np.arange(200), targets] += 1
    grid = [
        log_loss(targets, softmax(logits * factor, axis=1), sample_weight=1 / np.bincount(targets)[targets])
        for factor in np.exp(np.linspace(-3, 3, 601))
    ]
    for factor in (0.3, 1.0, 2.5):
        assert balanced_loss(softmax(logits * factor, axis=1), targets) == pytest.approx(min(grid), abs=1e-4)
