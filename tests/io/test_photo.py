"""Every kind of file that camera traps and people leave, against plain Pillow."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from drawing import STORED_BY
from trapline.io import jpeg
from trapline.io.buffers import Buffers
from trapline.io.images import ImageFailure, read
from trapline.io.photo import Photo, upright

NASTY = Path(__file__).parents[2] / "../shared/data/nasty"
LIMIT = 20_000_000


def scene(width=333, height=251, seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (17, 23, 3), dtype=np.uint8))
    noise = rng.normal(0, 6, (height, width, 1))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def encoded(image, kind="JPEG", **save):
    buffer = io.BytesIO()
    image.save(buffer, kind, **save)
    return buffer.getvalue()


def reference(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def decoded(data, rows=10**6, **options):
    photo = Photo(data, LIMIT)
    with photo.decode(rows, Buffers(10**8), **options) as picture:
        return picture.pixels.copy(), picture


JPEGS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "4:2:0, optimised": {"subsampling": 2, "optimize": True},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "poor": {"quality": 12},
    "best": {"quality": 100, "subsampling": 0},
}


@pytest.mark.parametrize("save", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_wanted_rows_are_pillows_bit_for_bit(save, mode):
    data = encoded(scene().convert(mode), **save)
    whole = reference(data)
    for rows in (1, 15, 16, 17, 100, 128, 129, 250, 251):
        pixels, _ = decoded(data, rows)
        assert (pixels[:rows] == whole[:rows]).all(), rows
        assert len(pixels) < rows + 3 * jpeg.MCU_PX or save.get("progressive")  # and not much more is decoded


@pytest.mark.parametrize("orientation", [1, *STORED_BY])
def test_turned_jpegs_are_pillows(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), exif=exif)
    wanted = reference(data)
    pixels, _ = decoded(data, 40)
    assert (pixels[:40] == wanted[:40]).all()
    stored = np.asarray(Image.open(io.BytesIO(data)))
    assert (upright(stored, Photo(data, LIMIT).header) == wanted).all()


def odd(name):
    """Data of a file, and what Pillow shows of it."""
    image = scene(120, 90)
    if name == "MPO":
        buffer = io.BytesIO()
        image.save(buffer, "MPO", save_all=True, append_images=[scene(120, 90, 1)])
        return buffer.getvalue()
    if name == "RGB without a conversion":
        return encoded(image, keep_rgb=True)
    if name == "palette with transparency":
        return encoded(image.quantize(64), "PNG", transparency=3)
    if name == "animated GIF":
        return encoded(image, "GIF", save_all=True, append_images=[scene(120, 90, 1)])
    if name == "junk after the end":
        return encoded(image) + b"\0" * 5000
    mode, kind = name.split()
    return encoded(image.convert(mode), kind)


@pytest.mark.parametrize(
    "name",
    [
        *("MPO", "RGB without a conversion", "palette with transparency", "animated GIF", "junk after the end"),
        *("CMYK JPEG", "RGBA PNG", "LA PNG", "1 PNG", "RGB BMP", "RGB PNG", "RGB TIFF", "RGB WEBP"),
    ],
)
def test_odd_files_are_what_pillow_shows(name):
    data = odd(name)
    assert (decoded(data)[0] == reference(data)).all()
    assert (decoded(data, 20)[0][:20] == reference(data)[:20]).all()


def test_scaled_pictures_show_the_same():
    data = encoded(scene(640, 480), quality=95, subsampling=2)
    for scale in (2, 4, 8):
        pixels, picture = decoded(data, 300, scale=scale)
        assert picture.scale == scale
        assert pixels.shape[1] == 640 // scale
        small = Image.fromarray(reference(data)).reduce(scale)
        wanted = np.asarray(small, int)[: 300 // scale]
        assert np.abs(pixels[: 300 // scale].astype(int) - wanted).mean() < 2


def cut_short(share):
    data = encoded(scene(), quality=90, subsampling=2)
    return data, data[: int(len(data) * share)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_is_a_failure_whatever_is_wanted(share):
    _, data = cut_short(share)
    for rows in (1, 10**6):
        with pytest.raises(ImageFailure, match="cannot be decoded: image file is truncated"):
            decoded(data, rows)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_what_there_is_of_a_truncated_jpeg_is_right(share):
    whole, data = cut_short(share)
    pixels, picture = decoded(data, keep_truncated=True)
    assert picture.within is not None
    left, top, right, bottom = picture.within
    assert (left, top, right) == (0, 0, 333)
    assert 0.5 * share * 251 < bottom < 251
    assert (pixels[:bottom] == reference(whole)[:bottom]).all()


def test_what_there_is_of_a_turned_one_is_where_it_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6  # the first stored row is seen as the right column
    data = encoded(scene(), exif=exif)
    pixels, picture = decoded(data[: len(data) // 2], keep_truncated=True)
    left, top, right, bottom = picture.within or (0, 0, 0, 0)
    assert (top, right, bottom) == (0, 251, 333)
    assert 0 < left < 251
    assert (pixels[:, left:] == reference(data)[:, left:]).all()


def test_nothing_is_used_of_a_progressive_one():
    data = encoded(scene(), progressive=True)
    with pytest.raises(ImageFailure, match="truncated"):
        decoded(data[: len(data) // 2], keep_truncated=True)


def test_damaged_bytes_end_in_pixels_or_a_reason():
    """Whatever Pillow makes of a damaged JPEG, this makes too, or gives a reason; it never raises anything else."""
    chance = random.Random(0)
    whole = encoded(scene(), quality=80)
    same = failed = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(2, len(data))] = chance.randrange(256)
        try:
            pixels, _ = decoded(bytes(data))
        except ImageFailure:
            failed += 1
            continue
        with Image.open(io.BytesIO(data)) as image:
            same += (pixels == np.asarray(image.convert("RGB"))).all() if image.getexif().get(0x0112, 1) == 1 else 1
    assert same + failed == 300
    assert min(same, failed) > 5


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    for name, words in (("pipe.jpg", "not a file"), ("nope.jpg", "file is missing"), (".", "not a file")):
        with pytest.raises(ImageFailure, match=words):
            read(tmp_path / name)


@pytest.mark.parametrize("path", sorted(NASTY.glob("*.jpg")) if NASTY.is_dir() else [], ids=lambda path: path.stem)
def test_real_odd_images(path):
    data = path.read_bytes()
    if "truncated" in path.name:
        with pytest.raises(ImageFailure, match="truncated"):
            decoded(data)
        return
    wanted = reference(data)
    pixels, _ = decoded(data, 500)
    assert (pixels[:500] == wanted[:500]).all()
