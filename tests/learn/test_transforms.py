import numpy as np
import pytest
import torch
from PIL import Image

from trapline.core.recipes import MILD
from trapline.io.images import ImageFailure
from trapline.learn.transforms import (
    Transform,
    load_for_evaluation,
    load_for_training,
    on_background,
    read_square,
    relight,
    to_input,
)

T = Transform(64)


@pytest.fixture
def crop(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    path = tmp_path / "crop.png"
    Image.fromarray(noise).resize((90, 90), Image.Resampling.BICUBIC).save(path)
    return path


def test_augmentation_is_a_pure_function_of_its_key(crop):
    keys = [(seed, epoch, crop_id, 0) for seed in (0, 1) for epoch in (1, 2) for crop_id in ("a", "b")]
    forward = [load_for_training(crop, T, MILD, *key) for key in keys]
    np.random.seed(5)
    torch.manual_seed(5)
    backward = [load_for_training(crop, T, MILD, *key) for key in reversed(keys)][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({image.tobytes() for image in forward}) == len(keys)


def test_a_middle_is_shown_on_another_square():
    red, blue = (Image.new("RGB", (side, side), colour) for side, colour in ((100, "red"), (40, "blue")))
    shown = np.asarray(on_background(red, blue))
    assert shown.shape == (100, 100, 3)
    away = np.hypot(*np.mgrid[-1:1:100j, -1:1:100j])  # 1 at the middle of a side
    assert (shown[away < 0.74] == (255, 0, 0)).all()
    assert (shown[away >= 1] == (0, 0, 255)).all()
    ring = shown[(away > 0.8) & (away < 0.95)]
    assert ((ring[:, 0] > 0) & (ring[:, 2] > 0)).all()


def test_another_crop_is_read_only_where_one_is_named(crop, tmp_path):
    Image.new("RGB", (50, 50), "blue").save(tmp_path / "blue.png")

    def loaded(**more):
        return load_for_training(crop, T, MILD, 0, 1, "a", 0, **more)

    np.testing.assert_array_equal(loaded(), loaded(behind=lambda random: None))
    assert not np.array_equal(loaded(), loaded(behind=lambda random: tmp_path / "blue.png"))
    with pytest.raises(ImageFailure):
        loaded(behind=lambda random: tmp_path / "gone.png")


def test_augmentation_leaves_global_random_state_alone(crop):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load_for_training(crop, T, MILD, 0, 1, "a", 0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_crop_that_is_not_square_keeps_its_shape_and_all_of_itself(tmp_path):
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "wide.png")
    pixels = load_for_evaluation(tmp_path / "wide.png", T)
    assert pixels.shape == (64, 64, 3)
    assert (pixels[32] == (255, 0, 0)).all()  # the whole width is crop
    assert (pixels[2] == (128, 128, 128)).all()  # above it the mean colour, zero to the model
    assert 30 <= (pixels[:, 32, 1] < 64).sum() <= 34  # half as high as wide


def test_evaluation_equals_plain_pillow(crop):
    with Image.open(crop) as image:
        expected = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(load_for_evaluation(crop, T), expected)


def test_large_jpegs_are_decoded_small_without_a_visible_difference(tmp_path):
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).resize((1000, 1000), 3)
    image.save(tmp_path / "big.jpg", quality=95)
    assert read_square(tmp_path / "big.jpg", T).width == 250  # a quarter; an eighth would be under 2 x 64
    exact = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(load_for_evaluation(tmp_path / "big.jpg", T) - exact).mean() < 1.5


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_unreadable_crops_are_failures(tmp_path, content):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageFailure):
        load_for_evaluation(path, T)


def test_relight_equals_pillows_blends(crop):
    from PIL import ImageEnhance

    with Image.open(crop) as opened:
        image = opened.convert("RGB").resize((64, 64))
    np.testing.assert_allclose(np.asarray(relight(image, 1, 1, 1), int), np.asarray(image, int), atol=1)
    grey = np.asarray(relight(image, 1, 1, 0), int)
    np.testing.assert_allclose(grey, np.asarray(image.convert("L").convert("RGB"), int), atol=1)
    dark = np.asarray(relight(image, 0.8, 1, 1), int)
    np.testing.assert_allclose(dark, np.asarray(ImageEnhance.Brightness(image).enhance(0.8), int), atol=1)
    flat = np.asarray(relight(image, 1, 0.75, 1), int)
    np.testing.assert_allclose(flat, np.asarray(ImageEnhance.Contrast(image).enhance(0.75), int), atol=2)


def test_input_is_normalised_and_channels_last():
    transform = Transform(4, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 0.25))
    pixels = np.full((2, 4, 4, 3), 255, dtype=np.uint8)
    batch = to_input(pixels, transform, torch.device("cpu"))
    assert batch.shape == (2, 3, 4, 4)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(batch[0, :, 0, 0], torch.tensor([1.0, 1.5, 4.0]))


def test_a_transform_survives_its_dict():
    transform = Transform(96, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
    assert Transform.from_dict(transform.as_dict()) == transform
