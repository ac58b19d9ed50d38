import numpy as np

from trapline.core.issues import labels


def planted(rng, n=300, wrong=15):
    """Crops of three labels that a model knows well; the first `wrong` are given the next label."""
    true = rng.integers(0, 3, n)
    probabilities = rng.dirichlet([1, 1, 1], n) * 0.3
    probabilities[np.arange(n), true] += 0.7
    given = true.copy()
    given[:wrong] = (true[:wrong] + 1) % 3
    return [f"c{k:03}" for k in range(n)], true, given, probabilities


def test_planted_errors_come_first_and_are_explained():
    ids, true, given, probabilities = planted(np.random.default_rng(0))
    found = labels.likely_wrong(ids, given, probabilities, ["cat", "dog", "fox"])
    assert sorted(found["crop_id"].head(15)) == ids[:15]
    worst = int(found["crop_id"][0][1:])
    names = ["cat", "dog", "fox"]
    assert found["evidence"][0].startswith(f"labelled {names[given[worst]]}, looks like {names[true[worst]]} (")
    assert found["score"].is_between(0.25, 1).all()


def test_crops_that_nobody_could_judge_are_left_out():
    ids, _, given, probabilities = planted(np.random.default_rng(1))
    given[0], probabilities[1] = -1, np.nan
    found = labels.likely_wrong(ids, given, probabilities, ["a", "b", "c"])
    assert sorted(found["crop_id"].head(13)) == ids[2:15]
    assert not set(found["crop_id"]) & {"c000", "c001"}
    nobody = labels.likely_wrong(ids, given, np.full_like(probabilities, np.nan), ["a", "b", "c"])
    assert nobody.height == 0


def test_quality_is_cleanlabs():
    from cleanlab.rank import get_label_quality_scores

    _, _, given, probabilities = planted(np.random.default_rng(2))
    for rank in ("normalized_margin", "self_confidence"):
        np.testing.assert_allclose(
            labels.quality(given, probabilities, rank), get_label_quality_scores(given, probabilities, method=rank)
        )


def test_mislabeled_candidates_are_those_of_the_old_chains_rule():
    """Wrong by the label that is given, and ahead of it by the margin."""
    scores = np.array(
        [[0.98, 0.01, 0.01], [0.02, 0.97, 0.01], [0.6, 0.3, 0.1], [0.01, 0.98, 0.01], [0.0, 1.0, 0.0]], np.float32
    )
    given = np.array([0, 0, 1, 2, -1])
    ids = list("abcde")
    found = labels.mislabeled_candidates(ids, given, scores, ["fox", "cat", "owl"], 0.95)
    assert found["crop_id"].to_list() == ["d", "b"]
    assert found["kind"].unique().to_list() == ["mislabeled_candidate"]
    assert found["evidence"][0] == "labelled owl, the classifier says cat (98% against 1%)"
    np.testing.assert_allclose(found["score"], [0.97, 0.95], atol=1e-6)
    assert labels.mislabeled_candidates(ids, given, scores, ["fox", "cat", "owl"], 0.3)["crop_id"].to_list() == [
        "d", "b", "c",
    ]  # fmt: skip
    assert labels.mislabeled_candidates([], given[:0], scores[:0], ["fox"], 0.95).height == 0
