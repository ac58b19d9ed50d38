import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from drawing import draw, picture
from trapline.io.crops import is_grey
from trapline.io.images import ImageFailure, decode, looks_cut_short, open_image, read_header

LIMIT = 1_000_000
NAME = "64x40_red_16x10_at_8_5_exif{}.png"


def read(path, limit=LIMIT):
    opened, header = open_image(path, limit)
    with opened:
        return decode(opened), header


def reference(path):
    """Plain Pillow."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_every_orientation_is_upright(tmp_path, orientation, suffix):
    path = draw(tmp_path, NAME.format(orientation).replace(".png", suffix))
    pixels, header = read(path)
    assert header.orientation == orientation
    assert header.displayed_px == pixels.size == (64, 40)
    assert (header.width_px, header.height_px) == ((40, 64) if orientation >= 5 else (64, 40))
    assert pixels.tobytes() == reference(path).tobytes()
    if suffix != ".jpg":
        assert pixels.tobytes() == picture(path.name).tobytes()


def test_an_orientation_that_makes_no_sense_is_none(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png", exif=exif)
    pixels, header = read(tmp_path / "a.png")
    assert (header.orientation, pixels.size) == (1, (4, 3))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", ".jpg"), ("CMYK", ".jpg"), ("1", ".png"), ("P", ".gif"), ("RGB", ".bmp"), ("L", ".webp")]
)
def test_modes_become_what_pillow_shows(tmp_path, mode, suffix):
    path = draw(tmp_path, "64x40_red_16x10_at_8_5" + suffix, mode)
    pixels, _ = read(path)
    assert pixels.mode == "RGB"
    assert pixels.tobytes() == reference(path).tobytes()


def test_a_suffix_may_lie(tmp_path):
    draw(tmp_path, "64x40_red_16x10_at_8_5.bmp").rename(tmp_path / "cat.jpg")
    assert read(tmp_path / "cat.jpg")[0].getpixel((10, 7)) == (255, 0, 0)


def test_transparency_is_left_away(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 10)).save(tmp_path / "rgba.png")
    Image.new("LA", (4, 4), (77, 10)).save(tmp_path / "la.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png", transparency=1)
    found = [read(tmp_path / f"{name}.png")[0].getpixel((1, 1)) for name in ("rgba", "la", "palette")]
    assert found == [(255, 0, 0), (77, 77, 77), (0, 0, 255)]


def test_16_bit_greys_keep_their_shades(tmp_path):
    shades = np.array([[0, 256 * 64, 256 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(shades).save(tmp_path / "deep.png")
    pixels, _ = read(tmp_path / "deep.png")
    assert [pixels.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 64, 128, 255)]


def broken(folder):
    """Name -> (file, words of its failure)."""
    whole = draw(folder, "640x480_red_100x80_at_20_30.jpg").read_bytes()
    png = draw(folder, "64x40_red_16x10_at_8_5.png").read_bytes()
    contents = {
        "missing": (None, "file is missing"),
        "empty": (b"", "file is empty"),
        "text": (b"this is no image\n" * 50, "not an image"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "not an image"),
        "truncated": (whole[: len(whole) // 2], "cannot be decoded: .*truncated"),
        "beginning": (whole[:200], "not an image|cannot be"),
        "damaged": (png[:60] + b"\0\0\0\0" + png[64:], "cannot be"),
        "large": (whole, "too large: 640 x 480 pixels"),
    }
    for name, (data, _) in contents.items():
        if data is not None:
            (folder / name).write_bytes(data)
    return {name: words for name, (_, words) in contents.items()}


@pytest.mark.parametrize("name", ["missing", "empty", "text", "html", "truncated", "beginning", "damaged", "large"])
def test_a_broken_image_says_why(tmp_path, name):
    words = broken(tmp_path)[name]
    with pytest.raises(ImageFailure, match=words) as caught:
        read(tmp_path / name, limit=640 * 480 - (name == "large"))
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ImageFailure, match="cannot be opened"):
        open_image(tmp_path, LIMIT)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    side = 16_000
    data = zlib.compress(bytes((1 + side // 8) * side))  # one bit per pixel here, one byte in memory
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    assert bomb.stat().st_size < 100_000
    program = (
        "import resource, sys, pathlib; from trapline.io.images import open_image, ImageFailure\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "try: open_image(pathlib.Path(sys.argv[1]), 200_000_000)\n"
        "except ImageFailure as failure: print(failure, '|', peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, bomb], capture_output=True, text=True, check=True)
    words, grown_mb = done.stdout.split("|")
    assert words.strip() == "too large: 16000 x 16000 pixels (limit 200,000,000)"
    assert int(grown_mb) < 50


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    """Pillow raises struct.error, KeyError and others from odd bytes; one such file must not end a whole run."""
    chance = random.Random(0)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"):
        buffer = io.BytesIO()
        noise.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}))
        whole = buffer.getvalue()
        failed = 0
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(min(len(data), 300))] = chance.randrange(256)
            (tmp_path / "f").write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)
            try:
                assert read(tmp_path / "f")[0].mode == "RGB"
            except ImageFailure:
                failed += 1
        assert failed


def test_an_image_with_damaged_exif_is_still_an_image(tmp_path, monkeypatch):
    """ImageOps.exif_transpose writes the block anew, which fails on some; the pixels are fine."""
    path = draw(tmp_path, "64x40_red_16x10_at_8_5_exif6.jpg")

    def fail(self, *args, **kwargs):
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(Image.Exif, "tobytes", fail)
    assert read(path)[0].size == (64, 40)


@pytest.mark.parametrize(
    ("name", "orientation", "grey"),
    [("", 1, False), ("_bw", 1, True), ("_cmyk", 1, False), ("_with_exif_orientation", 6, False)],
)
def test_real_odd_images(name, orientation, grey):
    path = real(f"african_elephants{name}.jpg")
    pixels, header = read(path, 200_000_000)
    assert header.orientation == orientation
    assert pixels.tobytes() == reference(path).tobytes()
    assert is_grey(pixels) == grey


def test_a_real_truncated_image():
    with pytest.raises(ImageFailure, match="cannot be decoded: image file is truncated"):
        read(real("african_elephants_truncated_file.jpg"), 200_000_000)


def real(name):
    path = Path(__file__).parents[2] / "../shared/data/nasty" / name
    if not path.exists():
        pytest.skip(f"real odd images are absent: {path}")
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_read_header_agrees_with_open_image(tmp_path, kind, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (40, 20)).save(tmp_path / "x", kind, exif=exif)
    _, header = open_image(tmp_path / "x", 10**6)
    assert read_header((tmp_path / "x").read_bytes()) == header
    assert read_header(memoryview((tmp_path / "x").read_bytes())) == header


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "file is empty"), (b"<html>", "not an image"), (b"\xff\xd8", "not an image")]
)
def test_read_header_of_nothing(data, reason):
    with pytest.raises(ImageFailure, match=reason):
        read_header(data)


def test_a_jpeg_without_its_end_looks_cut_short(tmp_path):
    Image.effect_noise((200, 200), 80).save(tmp_path / "x.jpg")
    data = (tmp_path / "x.jpg").read_bytes()
    assert not looks_cut_short(data)
    assert not looks_cut_short(data + bytes(2000))
    assert looks_cut_short(data[:-500])
