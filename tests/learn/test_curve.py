import numpy as np

from trapline.core.curve import doubled
from trapline.learn import curve

LABELS, PLACES, BURSTS, EACH = 3, 24, 8, 2


def drawn(place_noise, crop_noise):
    """Features of crops: their label's direction, their place's offset, their own noise."""
    random = np.random.default_rng(0)
    means = random.normal(0, 1, (LABELS, 20))
    features, labels, groups, bursts = [], [], [], []
    for place in range(PLACES):
        offset = random.normal(0, place_noise, (LABELS, 20))  # a label looks different at every place
        for burst in range(BURSTS):
            label = random.integers(LABELS)
            for _ in range(EACH):
                features.append(means[label] + offset[label] + random.normal(0, crop_noise, 20))
                labels.append(label)
                groups.append(place)
                bursts.append(place * BURSTS + burst)
    return np.array(features), np.array(labels), np.array(groups), np.array(bursts)


def test_where_places_differ_more_places_help_and_more_images_do_not():
    told = []
    places, crops = curve.curves(*drawn(1.5, 0.05), divisions=6, seed=0, done=told.append)
    assert sum(told) == 6
    assert places.recalls[:, 0].mean() < places.recalls[:, -1].mean() - 0.05
    assert doubled(places.sizes, places.recalls).value > doubled(crops.sizes, crops.recalls).value + 0.01
    np.testing.assert_array_equal(places.recalls[:, -1], crops.recalls[:, -1])  # the whole is the same
    assert (places.sizes[:, -1] == 18).all()  # a quarter of 24 is held out
    assert (places.sizes[:, 2] == 9).all()
    assert (crops.sizes[:, 0] == 18 * EACH).all()  # an eighth of 8 bursts, whole


def test_the_same_seed_gives_the_same_curves():
    data = drawn(1.0, 0.5)
    one, other = (curve.curves(*data, divisions=2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one[0].recalls, other[0].recalls)
    np.testing.assert_array_equal(one[1].sizes, other[1].sizes)
