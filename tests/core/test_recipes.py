from dataclasses import asdict

from trapline.core import recipes
from trapline.core.config import TrainConfig


def test_the_reference_is_the_old_chains():
    # train_classifier.py: RMSprop(alpha 0.9, momentum 0.9), 0.97 every 2.4 epochs, BatchNorm momentum 0.99 (as
    # TensorFlow counts), RandomResizedCrop(0.08-1), +-90 degrees, upside down 0.1, grey 0.1, jitter 0.25
    found = recipes.of(TrainConfig(recipe="reference"))
    assert (found.optimizer, found.schedule, found.lr, found.backbone_lr) == ("rmsprop", "decay", 3e-5, 1.0)
    assert (found.freeze, found.head_start, found.label_smoothing, found.patience) == (0.0, "random", 0.0, 8)
    assert found.backgrounds == 0.0
    assert (found.average, found.still, found.norm_momentum, found.clip_norm) == (False, False, 0.01, None)
    assert asdict(found.augmentation) == {
        "min_area": 0.08, "stretch": 4 / 3, "turn_share": 1.0, "turn_deg": 90.0, "upside_down": 0.1, "light": 0.25,
        "grey": 0.1,
    }  # fmt: skip


def test_options_come_before_the_recipe():
    found = recipes.of(TrainConfig(recipe="reference", lr=1e-4, freeze=0.25, epochs=3))
    assert (found.lr, found.freeze, found.epochs) == (1e-4, 0.25, 3)
    assert found.optimizer == "rmsprop"
    assert recipes.of(TrainConfig(lr=0.5)).options() == {**recipes.DEFAULT.options(), "lr": 0.5}
    assert recipes.of(TrainConfig(epochs=0)).epochs == 0


def test_a_probe_alone_trains_no_epochs():
    assert recipes.of(TrainConfig(mode="probe", epochs=5)).epochs == 0


def settled(**options):
    found = recipes.settle(TrainConfig(**options))
    return found.epochs, found.patience


def test_patience_is_half_of_the_epochs():
    assert [settled(epochs=n)[1] for n in (3, 8, 9, 20)] == [4, 4, 4, 10]
    assert settled() == (8, 4)


def test_what_is_asked_for_comes_first():
    assert settled(epochs=20, patience=2) == (20, 2)
    assert settled(mode="probe") == (0, 4)
    assert settled(recipe="reference", epochs=20) == (20, 8)


def test_nothing_is_left_open():
    asked = TrainConfig(lr=0.5)
    found = recipes.settle(asked)
    assert found.model_dump() == {**asked.model_dump(), **recipes.DEFAULT.options(), "lr": 0.5}
    assert recipes.settle(found) == found


def test_a_training_goes_on_as_it_began():
    begun = {**recipes.settle(TrainConfig()).model_dump(), "epochs": 11, "patience": 7}
    assert recipes.settle(TrainConfig(), begun).model_dump() == begun
    assert recipes.settle(TrainConfig(epochs=4), begun).model_dump() == {**begun, "epochs": 4}


def test_a_training_from_before_there_was_an_option_goes_on_without_it():
    begun = recipes.settle(TrainConfig(epochs=11)).model_dump()
    del begun["backgrounds"]
    assert recipes.settle(TrainConfig(), begun).model_dump() == {**begun, "backgrounds": 0.0}


def test_one_place_has_no_other_background():
    assert [recipes.settle(TrainConfig(), places=n).backgrounds for n in (1, 2, None)] == [0.0, 0.5, 0.5]
    assert recipes.settle(TrainConfig(backgrounds=0.2), places=1).backgrounds == 0.2
    assert recipes.settle(TrainConfig(recipe="reference"), places=9).backgrounds == 0.0


def test_it_is_said_in_words():
    def words(crops, places, **options):
        return recipes.in_words(recipes.settle(TrainConfig(**options), places=places), crops, places)

    assert words(1_340, 36) == (
        "recipe: default, 8 epochs for 1,340 crops of 36 places, 50% shown on other places' backgrounds, patience 4"
    )
    assert words(9, 1) == "recipe: default, 8 epochs for 9 crops of 1 place, patience 4"
    assert words(90, 3, recipe="reference", epochs=1) == (
        "recipe: reference, 1 epoch for 90 crops of 3 places, patience 8"
    )
    assert words(90, 3, mode="probe") == "recipe: the probe alone"
