import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import uniform_filter1d

from trapline.io import quality
from trapline.io.images import ImageFailure


def photo(rng, size=(240, 180)):
    coarse = Image.fromarray(rng.integers(60, 200, (12, 16, 3), dtype=np.uint8)).resize(size)
    fine = rng.normal(0, 12, (size[1], size[0], 1))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def test_blur_grows_with_the_blur(tmp_path):
    image = photo(np.random.default_rng(0))
    blurs = []
    for radius in (0, 1, 2, 4):
        image.filter(ImageFilter.GaussianBlur(radius)).save(tmp_path / "a.jpg")
        blurs.append(quality.measure(tmp_path / "a.jpg", 10**8).blur)
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.3 < 0.6 < blurs[-1]


def test_light_is_that_of_the_picture_without_its_padding(tmp_path):
    whole = Image.new("RGB", (240, 240))
    whole.paste(photo(np.random.default_rng(1), (240, 60)), (0, 90))
    whole.save(tmp_path / "a.jpg")
    found = quality.measure(tmp_path / "a.jpg", 10**8)
    assert found.padding == pytest.approx(0.75, abs=0.03)
    assert found.dark > 0.5
    assert found.bright > 0.2


def test_black_and_flat_crops_have_measures_too():
    assert quality.of_pixels(np.zeros((50, 50), np.uint8)) == quality.Quality(None, 0, 0, 1)
    assert quality.of_pixels(np.full((50, 50), 255, np.uint8)) == quality.Quality(None, 1, 1, 0)
    assert quality.of_pixels(np.full((1, 1), 90, np.uint8)).blur is None


def test_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "a.jpg").write_text("nothing")
    with pytest.raises(ImageFailure):
        quality.measure(tmp_path / "a.jpg", 10**8)


def test_measures_are_those_of_plain_formulas(tmp_path):
    """Crete's blur by a mean of nine pixels along each axis, and percentiles of lightness; in floating point."""
    photo(np.random.default_rng(2), (250, 200)).convert("L").save(tmp_path / "a.png")
    found = quality.measure(tmp_path / "a.png", 10**8)
    levels = np.asarray(Image.open(tmp_path / "a.png"), dtype=float) / 255
    blurs = []
    for axis in (0, 1):
        change = np.abs(np.diff(levels, axis=axis))
        again = np.abs(np.diff(uniform_filter1d(levels, 9, axis=axis, mode="nearest"), axis=axis))
        blurs.append((change.sum() - (change - again).clip(0).sum()) / change.sum())
    assert found.blur == pytest.approx(max(blurs), abs=1e-6)
    assert (found.bright, found.dark) == pytest.approx(tuple(np.percentile(levels, (5, 95))), abs=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_large_jpeg_is_measured_at_a_part_of_its_size_like_any_other_file(tmp_path, mode):
    image = photo(np.random.default_rng(3), (1100, 800)).convert(mode)
    image.save(tmp_path / "a.jpg", quality=98)
    Image.open(tmp_path / "a.jpg").convert("RGB").save(tmp_path / "a.png")
    one, other = (quality.measure(tmp_path / name, 10**8) for name in ("a.jpg", "a.png"))
    assert one.blur == pytest.approx(other.blur, abs=0.04)
    assert (one.dark, one.bright) == pytest.approx((other.dark, other.bright), abs=0.02)
    with pytest.raises(ImageFailure, match="too large: 1100 x 800"):
        quality.measure(tmp_path / "a.jpg", 10**5)
