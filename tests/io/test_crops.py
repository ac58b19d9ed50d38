import numpy as np
import pytest
from PIL import Image

from drawing import picture
from trapline.io import jpeg
from trapline.io.crops import SCALE_MARGIN, cut, is_grey, scale_for, write_jpeg
from trapline.io.photo import Picture
from trapline.io.places import Folder


def cropped(image, window, max_size, shown=None):
    return Image.fromarray(cut(Picture(np.asarray(image)), window, shown or window, max_size))


def scene(size=(400, 300)):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def psnr(found, wanted):
    error = ((np.asarray(found, float) - np.asarray(wanted, float)) ** 2).mean()
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def test_cut_is_pillows_crop():
    image = picture("100x60_red_20x20_at_0_0_blue_20x20_at_80_40")
    assert cropped(image, (10, 5, 90, 55), 0).tobytes() == image.crop((10, 5, 90, 55)).tobytes()
    beyond = cropped(image, (0, -20, 100, 80), 0, shown=(0, 0, 100, 60))
    assert beyond.crop((0, 0, 100, 20)).getextrema() == ((0, 0),) * 3
    assert beyond.crop((0, 20, 100, 80)).tobytes() == image.tobytes()


def test_only_what_is_shown_is_not_black():
    padded = cropped(picture("100x60"), (10, 0, 50, 40), 0, shown=(10, 15, 50, 25))
    assert padded.size == (40, 40)
    rows = np.asarray(padded).any(axis=(1, 2))
    assert np.flatnonzero(rows).tolist() == list(range(15, 25))


@pytest.mark.parametrize(
    ("window", "max_size", "size"),
    [
        ((0, 0, 100, 60), 50, (50, 30)),
        ((0, 0, 100, 60), 100, (100, 60)),
        ((0, 0, 100, 60), 512, (100, 60)),
        ((0, 0, 100, 1), 10, (10, 1)),
        ((0, 0, 97, 59), 64, (64, 39)),
    ],
)
def test_cut_reduces_and_never_enlarges(window, max_size, size):
    assert cropped(picture("100x60"), window, max_size).size == size


def test_reduction_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (64, 32))).convert("RGB")
    low, high = cropped(stripes, (0, 0, 64, 64), 16).convert("L").getextrema()
    assert 100 < low <= high < 155  # type: ignore[operator]


@pytest.mark.parametrize("max_size", [299, 200, 128, 60, 17])
def test_reduction_is_pillows_bicubic(max_size):
    image = scene()
    size = (max_size, max(round(300 * max_size / 400), 1))
    wanted = image.resize(size, Image.Resampling.BICUBIC)
    assert psnr(cropped(image, (0, 0, 400, 300), max_size), wanted) > 45


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (37, 51), (38, 3)])
def test_a_picture_at_half_scale_is_cut_where_the_whole_one_is(corner):
    """A window that begins at an odd pixel begins between two pixels of the half."""
    image, (x, y) = scene((600, 500)), corner
    window = (x, y, x + 400, y + 400)
    half = Picture(np.asarray(image.reduce(2)), scale=2)
    found = cut(half, window, window, 120)
    assert psnr(found, image.crop(window).resize((120, 120), Image.Resampling.BICUBIC)) > 45
    moved = (x + 2, y, x + 402, y + 400)
    assert psnr(found, image.crop(moved).resize((120, 120), Image.Resampling.BICUBIC)) < 45


def test_scale_is_that_of_the_smallest_crop():
    def square(side):
        return (0, 0, side, side), (0, 0, side, side)

    least = round(SCALE_MARGIN * 100)
    assert scale_for(*square(2 * least), 100) == 2
    assert scale_for(*square(2 * least - 1), 100) == 1
    assert scale_for(*square(5 * least), 100) == 4
    assert scale_for(*square(99 * least), 100) == 8
    assert scale_for(*square(9 * least), 0) == 1
    assert scale_for((0, 0, 4 * least, 4 * least), (0, 9, 4 * least, 4 * least), 100) == 1  # black at its edge


def test_grey_and_coloured():
    noise = np.random.default_rng(0).integers(0, 255, (80, 80), dtype=np.uint8)
    assert is_grey(Image.fromarray(noise).convert("RGB"))
    assert is_grey(picture("80x80"))  # the ground's faint green is no colour to speak of
    assert not is_grey(picture("80x80_red_40x40_at_0_0"))
    assert not is_grey(Image.new("RGB", (5, 5), "olive"))
    assert not is_grey(picture("2000x1500_red_1000x700_at_500_400"))


def test_jpegs_keep_their_colours(tmp_path):
    image = picture("64x64_red_1x64_at_20_0_blue_1x64_at_21_0")
    place = Folder(tmp_path)
    checksum = write_jpeg(image, place, "a/b.jpg", 100)
    with Image.open(tmp_path / "a" / "b.jpg") as stored:
        assert np.abs(np.asarray(stored, int) - np.asarray(image, int)).max() <= 6  # subsampling would mix the columns
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.jpg"]
    assert write_jpeg(image, place, "c.jpg", 100) == checksum
    assert write_jpeg(image, place, "c.jpg", 75) != checksum


def test_a_stored_crop_is_as_near_as_its_quality_says():
    image = scene()
    for quality, least in ((75, 34), (92, 38), (jpeg.FULL_COLOUR, 42), (100, 48)):
        data = jpeg.encode(np.asarray(image), quality)
        (picture_of,) = [jpeg.decode(data, found, 300, 1, np.empty(400 * 300 * 3, np.uint8))
                         for found in [jpeg.structure(data)] if found]  # fmt: skip
        assert psnr(picture_of, image) > least
