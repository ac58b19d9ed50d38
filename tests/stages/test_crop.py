import io
import os
import random
import struct
import time
import zlib

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps

from drawing import draw, is_all, picture, seen_box, stored_box
from trapline.core.config import CropConfig
from trapline.core.log import Log
from trapline.core.paths import MAX_PART_BYTES
from trapline.core.schemas import BOXES, CROPS, FILES, IMAGES
from trapline.io import crops as crop_io
from trapline.io.ledger import Parts
from trapline.io.objects import ObjectFailure
from trapline.stages.crop import crop, failed_images, named, remove_damaged, units

WHOLE = CropConfig(max_size=0, quality=100)


class Shop:
    """A project's crop stage: files in a folder, boxes listed in order, everything else as the project does it."""

    def __init__(self, root):
        self.root = root
        self.boxes = []
        self.stated = {}

    @property
    def folder(self):
        return self.root / "images"

    def box(self, name, *box, unit="px", frame="auto", source="human"):
        number = f"is/b{len(self.boxes):04d}"
        row = [number, f"is/{name}", *map(float, box), unit, frame, source, None]
        self.boxes.append(dict(zip(BOXES.columns, row, strict=True)))
        return self

    def run(self, cfg=WHOLE, workers=2, remote=None, **more):
        names = sorted({row["image_id"].removeprefix("is/") for row in self.boxes})
        images, files = [], []
        for name in names:
            path = self.folder / name
            there = path.is_file()
            width, height = self.stated.get(name, (None, None))
            images.append(
                {"image_id": f"is/{name}", "dataset": "is", "file_name": name, "width_px": width, "height_px": height}
            )
            stamp = f"{path.stat().st_size}-{path.stat().st_mtime_ns}" if there else None
            files.append(
                {"image_id": f"is/{name}", "path": f"images/{name}", "checksum": stamp}
                | {"failure": None if there else "not on disk"}
            )
        self.log = Log()
        self.table = CROPS.check(
            crop(
                units(
                    pl.DataFrame(images, schema=IMAGES.columns),
                    pl.DataFrame(files, schema=FILES.columns),
                    pl.DataFrame(self.boxes, schema=BOXES.columns),
                    remote=remote,
                ),
                cfg,
                crops_dir=self.root / "crops",
                root=self.root,
                parts=Parts(self.root / "tables" / "crop"),
                workers=workers,
                log=self.log,
                **more,
            )
        )
        return self

    def files(self):
        folder = self.root / "crops"
        return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def stored(self):
        return [
            np.asarray(Image.open(self.root / "crops" / path).convert("RGB"))
            for path in self.table["path"].drop_nulls()
        ]

    def failures(self):
        return dict(self.table.select("box_id", "failure").rows())


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def close(found, wanted, tolerance=3):
    """Equal but for what JPEG at quality 100 does."""
    wanted = np.asarray(wanted, int)
    return found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= tolerance


def reference(path, box, square):
    """The documented geometry in plain Pillow: longer side, centred, moved inside, black where the image ends."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    x, y, w, h = box
    if not square:
        return image.crop((x, y, x + w, y + h))
    side = max(w, h)
    sheet = Image.new("RGB", (max(side, image.width), max(side, image.height)))
    sheet.paste(image, (-((image.width - side) // 2) if side > image.width else 0,
                        -((image.height - side) // 2) if side > image.height else 0))  # fmt: skip
    left = min(max(x - (side - w) // 2, 0), sheet.width - side) if side <= image.width else 0
    top = min(max(y - (side - h) // 2, 0), sheet.height - side) if side <= image.height else 0
    return sheet.crop((left, top, left + side, top + side))


@pytest.mark.parametrize("style", ["square", "tight"])
def test_crops_are_plain_pillows(shop, style):
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (10, 16, 3), dtype=np.uint8)).resize(
        (321, 203), Image.Resampling.BICUBIC
    )
    shop.folder.mkdir()
    smooth.save(shop.folder / "a.png")
    chance = random.Random(1)
    boxes = [(0, 0, 321, 203), (0, 0, 5, 203), (320, 202, 1, 1), (0, 150, 90, 53), (231, 0, 90, 30), (100, 0, 221, 203)]
    for _ in range(20):
        x, y = chance.randrange(321), chance.randrange(203)
        boxes.append((x, y, chance.randint(1, 321 - x), chance.randint(1, 203 - y)))
    for box in boxes:
        shop.box("a.png", *box)
    shop.run(WHOLE.model_copy(update={"style": style}))
    for found, box in zip(shop.stored(), boxes, strict=True):
        assert close(found, reference(shop.folder / "a.png", box, style == "square"), 6), box


# Where an orientation keeps the shape, the stated size tells nothing and `auto` takes the displayed frame.
FRAMES = [(turn, frame) for turn in range(1, 9) for frame in ("displayed", "raw", "auto displayed")]
FRAMES += [(turn, "auto raw") for turn in range(5, 9)]


@pytest.mark.parametrize(("orientation", "frame"), FRAMES)
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_the_red_rectangle_is_in_the_crop(shop, orientation, frame, suffix):
    """The old chain ignored EXIF orientation: its crops of turned images show something else."""
    name = f"160x100_red_24x24_at_30_20_blue_24x24_at_120_70_exif{orientation}.{suffix}"
    draw(shop.folder, name)
    turned = orientation >= 5
    box = stored_box(name, "red") if frame.endswith("raw") else seen_box(name, "red")
    shop.stated[name] = (100, 160) if frame.endswith("raw") and turned else (160, 100)
    shop.box(name, *box, frame=frame.split()[0]).run()
    (path,) = shop.files().values()
    with Image.open(path) as found:
        assert found.size == (24, 24)
        assert is_all(found, "red", 3)


def test_the_setting_overrules_auto(shop):
    name = "160x100_red_24x24_at_30_20_exif3.png"  # upside down: the size tells nothing
    draw(shop.folder, name)
    shop.stated[name] = (160, 100)
    shop.box(name, *stored_box(name, "red"))
    assert not is_all(Image.fromarray(shop.run().stored()[0]), "red", 3)
    assert "1 boxes of images that EXIF rotates could be meant either way" in shop.log.warnings[0]
    raw = shop.run(WHOLE.model_copy(update={"box_frame": "raw"}))
    assert is_all(Image.fromarray(raw.stored()[0]), "red", 3)
    assert not raw.log.warnings


def test_fractions_and_pixels_are_the_same_crop(shop):
    name = "160x100_red_24x24_at_30_20.png"
    draw(shop.folder, name)
    shop.box(name, 30, 20, 24, 24).box(name, 30 / 160, 0.2, 24 / 160, 0.24, unit="fraction").run()
    first, second = shop.stored()
    assert (first == second).all()
    assert is_all(Image.fromarray(first), "red", 3)


def test_pixels_of_a_smaller_copy(shop):
    """The source states the size that its pixels are of; the file on disk is a larger one."""
    name = "320x200_red_48x48_at_60_40.png"
    draw(shop.folder, name)
    shop.stated[name] = (160, 100)
    shop.box(name, 30, 20, 24, 24).run()
    assert shop.stored()[0].shape == (48, 48, 3)
    assert is_all(Image.fromarray(shop.stored()[0]), "red", 3)


def test_names_are_the_fields(shop):
    draw(shop.folder, "cam1/64x40_red_9x9_at_1_1.JPG.png").rename(shop.folder / "cam1" / "IMG_0001.JPG")
    draw(shop.folder, "64x40.png").rename(shop.folder / "b.png")
    shop.box("cam1/IMG_0001.JPG", 1, 1, 9, 9).box("cam1/IMG_0001.JPG", 20, 5, 9, 9)
    shop.box("b.png", 1, 1, 9, 9, source="mdv5.0").run()
    names = ["is/b.png___crop00_mdv5.0.jpg", "is/cam1/IMG_0001.JPG___crop00.jpg", "is/cam1/IMG_0001.JPG___crop01.jpg"]
    assert list(shop.files()) == names
    assert shop.table["crop_id"].to_list() == shop.table["path"].to_list() == names
    assert shop.table["box_id"].to_list() == ["is/b0002", "is/b0000", "is/b0001"]


def test_more_than_a_hundred_boxes(shop):
    draw(shop.folder, "640x400_red_20x20_at_600_380.png").rename(shop.folder / "a.png")
    for n in range(125):
        shop.box("a.png", 20 * (n % 20), 20 * (n // 20), 20, 20)
    shop.box("a.png", 600, 380, 20, 20).run()
    assert shop.table.height == shop.table["crop_id"].n_unique() == len(shop.files()) == 126
    assert shop.table["crop_id"][-1] == "is/a.png___crop125.jpg"
    assert is_all(Image.fromarray(shop.stored()[-1]), "red", 3)
    assert is_all(Image.fromarray(shop.stored()[99]), "#606860", 3)


def test_the_longest_name_that_is_let_in(shop):
    name = "x" * (MAX_PART_BYTES - 4) + ".png"
    draw(shop.folder, "64x40.png").rename(shop.folder / name)
    shop.box(name, 1, 1, 9, 9, source="md_v1000.0.0-redwood").run()
    assert shop.table["failure"].to_list() == [None]


@pytest.mark.parametrize(
    ("mode", "suffix", "colour"),
    [
        ("L", "jpg", "#4c4c4c"),
        ("CMYK", "jpg", "red"),
        ("RGBA", "png", "red"),
        ("P", "gif", "red"),
        ("LA", "png", "#4c4c4c"),
        ("I;16", "png", None),
    ],
)
def test_every_mode_gives_a_crop(shop, mode, suffix, colour):
    name = f"64x40_red_16x16_at_8_5.{suffix}"
    if mode == "I;16":
        grey = np.asarray(picture(name).convert("L"), np.uint16) * 257
        shop.folder.mkdir()
        Image.fromarray(grey).save(shop.folder / name)
    else:
        draw(shop.folder, name, mode)
    shop.box(name, 8, 5, 16, 16).run()
    assert shop.table["failure"].to_list() == [None]
    assert is_all(Image.fromarray(shop.stored()[0]), colour or "#4c4c4c", 3)


def test_colour_and_infrared(shop):
    draw(shop.folder, "64x40_red_16x16_at_8_5.png")
    shop.box("64x40_red_16x16_at_8_5.png", 8, 5, 16, 16).box("64x40_red_16x16_at_8_5.png", 40, 20, 16, 16).run()
    assert shop.table["infrared"].to_list() == [False, True]


def test_large_crops_are_reduced(shop):
    draw(shop.folder, "900x700.png")
    shop.box("900x700.png", 0, 0, 600, 600).box("900x700.png", 0, 0, 300, 100).run(CropConfig())
    assert shop.table.select("width_px", "height_px").rows() == [(512, 512), (300, 300)]
    assert [found.shape for found in shop.stored()] == [(512, 512, 3), (300, 300, 3)]


def break_things(shop):
    """One image of every kind of trouble, and one that is fine."""
    whole = draw(shop.folder, "640x480_red_100x100_at_20_30.jpg").read_bytes()
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"<html>not found</html>",
        "truncated.jpg": whole[:-400],
        "half.jpg": whole[: len(whole) // 2],
        "bomb.jpg": draw(shop.folder, "1200x1000.jpg").read_bytes(),
        "missing.jpg": None,
        "fine.jpg": whole,
    }
    for path in shop.folder.iterdir():
        path.unlink()
    for name, data in contents.items():
        if data is not None:
            (shop.folder / name).write_bytes(data)
        shop.box(name, 20, 30, 100, 100)
    return WHOLE.model_copy(update={"max_pixels": 640 * 480})


def test_bad_images_are_rows_with_a_failure(shop):
    shop.run(break_things(shop))
    found = {name.removeprefix("is/"): why for name, why in failed_images(shop.table).rows()}
    assert sorted(found) == ["bomb.jpg", "empty.jpg", "half.jpg", "missing.jpg", "text.jpg", "truncated.jpg"]
    assert found["bomb.jpg"] == "too large: 1200 x 1000 pixels (limit 307,200)"
    assert found["empty.jpg"] == "file is empty"
    assert found["missing.jpg"] == "not on disk"
    assert found["text.jpg"] == "not an image"
    assert found["truncated.jpg"] == "cannot be decoded: image file is truncated"  # no byte count: one reason for all
    assert list(shop.files()) == ["is/fine.jpg___crop00.jpg"]
    failed = shop.table.filter(pl.col("failure").is_not_null())
    assert failed.select("path", "width_px", "height_px", "infrared", "checksum").unique().rows() == [(None,) * 5]
    assert str(shop.log.accounts[0]).startswith("7 boxes -> 1 crops; left out ")


def test_bad_boxes_fail_alone(shop):
    draw(shop.folder, "64x40.png")
    for box in ((5, 5, 9, 9), (64, 5, 9, 9), (5, -20, 9, 20), (60, 36, 90, 90), (5, 5, float("nan"), 9), (5, 5, 0, 9)):
        shop.box("64x40.png", *box)
    shop.run(WHOLE.model_copy(update={"style": "tight"}))
    assert list(shop.failures().values()) == [
        None,
        "box lies outside the image",
        "box lies outside the image",
        None,
        "box holds a value that is not a number",
        "box has no area",
    ]
    sizes = shop.table.filter(pl.col("failure").is_null()).select("width_px", "height_px").rows()
    assert sizes == [(9, 9), (4, 4)]  # what reaches out is clipped


def state(shop):
    return {name: path.stat().st_mtime_ns for name, path in shop.files().items()}


def four(shop):
    for n in range(4):
        draw(shop.folder, f"64x40_red_9x9_at_{n}_1.png").rename(shop.folder / f"{n}.png")
        shop.box(f"{n}.png", n, 1, 9, 9).box(f"{n}.png", 30, 20, 9, 9)
    return shop.run()


def age(shop):
    """Make every crop old, so that a rewrite shows."""
    for path in shop.files().values():
        os.utime(path, ns=(1, 1))
    return state(shop)


def rewritten(shop, before):
    after = state(shop)
    return sorted(name for name in after if after[name] != before.get(name))


def test_a_second_run_makes_nothing(shop):
    first = four(shop).table
    before = age(shop)
    parts = {path: path.stat().st_mtime_ns for path in (shop.root / "tables" / "crop").iterdir()}
    assert shop.run().table.equals(first)
    assert shop.run(WHOLE.model_copy(update={"num_workers": 7}), workers=1).table.equals(first)
    assert rewritten(shop, before) == []
    assert {path: path.stat().st_mtime_ns for path in (shop.root / "tables" / "crop").iterdir()} == parts


def test_a_changed_setting_remakes_all(shop):
    first = four(shop).table
    before = age(shop)
    again = shop.run(WHOLE.model_copy(update={"quality": 60})).table
    assert len(rewritten(shop, before)) == 8
    assert not set(again["checksum"]) & set(first["checksum"])
    age(shop)
    assert shop.run().table.equals(first)


def test_a_deleted_crop_is_remade(shop):
    first = four(shop).table
    before = age(shop)
    shop.files()["is/2.png___crop01.jpg"].unlink()
    assert shop.run().table.equals(first)
    assert rewritten(shop, before) == ["is/2.png___crop00.jpg", "is/2.png___crop01.jpg"]  # one image, decoded once


def test_a_changed_box_or_file_remakes_its_image_only(shop):
    four(shop)
    before = age(shop)
    shop.boxes[2]["box_x"] = 7.0
    shop.run()
    assert rewritten(shop, before) == ["is/1.png___crop00.jpg", "is/1.png___crop01.jpg"]
    before = age(shop)
    draw(shop.folder, "64x40_blue_20x20_at_0_0.png").replace(shop.folder / "3.png")
    shop.run()
    assert rewritten(shop, before) == ["is/3.png___crop00.jpg", "is/3.png___crop01.jpg"]
    assert is_all(Image.fromarray(shop.stored()[6]), "blue", 3)


def test_a_mended_image_is_cropped(shop):
    cfg = break_things(shop)
    shop.run(cfg)
    before = age(shop)
    (shop.folder / "half.jpg").write_bytes((shop.folder / "fine.jpg").read_bytes())
    shop.run(cfg)
    assert rewritten(shop, before) == ["is/half.jpg___crop00.jpg"]
    assert len(failed_images(shop.table)) == 5


def test_workers_change_nothing(shop, tmp_path):
    first = four(shop).table
    other = Shop(tmp_path / "other")
    assert four(other).run(workers=5).table.equals(first)
    assert other.run(workers=1).table.equals(first)


def test_without_hashes_of_frames_the_crops_are_the_same(shop, tmp_path):
    first = four(shop).table
    assert first["frame_hash"].null_count() == 0
    other = four(Shop(tmp_path / "other")).run(hash_frames=False).table
    assert other["frame_hash"].null_count() == other.height
    assert other.drop("frame_hash").equals(first.drop("frame_hash"))


def test_no_boxes_at_all(shop):
    assert shop.run().table.is_empty()


# -- what a kill, another setting or a bad disk leaves ----------------------------------------------------------------


def test_crops_of_settings_that_were_begun_and_given_up_are_remade(shop):
    """Quality 60 is begun and killed; with the old settings again, its files must not pass for theirs."""
    first = four(shop).table
    before = {name: path.read_bytes() for name, path in shop.files().items()}
    begun = []

    def die(stream, *args, write=crop_io.write, **kwargs):
        begun.append(stream)
        if len(begun) > 3:
            raise KeyboardInterrupt
        return write(stream, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(crop_io, "write", die)
        with pytest.raises(KeyboardInterrupt):
            shop.run(WHOLE.model_copy(update={"quality": 60}), workers=1)
    assert {name: path.read_bytes() for name, path in shop.files().items()} != before
    assert shop.run().table.equals(first)
    assert {name: path.read_bytes() for name, path in shop.files().items()} == before


def test_check_finds_what_no_longer_is_what_was_written(shop):
    first = four(shop).table
    parts = Parts(shop.root / "tables" / "crop")
    assert remove_damaged(parts, shop.root / "crops", shop.log) == 0
    damaged = shop.files()["is/1.png___crop01.jpg"]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])  # the old chain kept such a crop for ever
    shop.files()["is/3.png___crop00.jpg"].unlink()
    before = age(shop)
    assert remove_damaged(parts, shop.root / "crops", shop.log) == 2
    assert shop.log.notes[-1] == "8 crops checked: 2 are damaged or gone, and made again"
    assert shop.run().table.equals(first)
    assert damaged.read_bytes() == whole
    assert len(rewritten(shop, before)) == 4  # of two images, each decoded once


def test_equal_file_names_of_two_datasets_stay_apart():
    images = pl.DataFrame({"image_id": ["a/1", "b/1"], "dataset": ["a", "b"], "file_name": ["x.jpg"] * 2})
    boxes = pl.DataFrame({"box_id": ["a/1/1", "b/1/1"], "image_id": ["a/1", "b/1"], "source": ["human", "mdv5a.0"]})
    assert named(images, boxes)["crop_id"].to_list() == ["a/x.jpg___crop00.jpg", "b/x.jpg___crop00_mdv5a.0.jpg"]


def test_an_image_that_could_not_be_had_is_asked_for_again_and_one_that_is_gone_is_not(shop):
    for name in ("late.png", "gone.png", "good.png"):
        draw(shop.folder, "64x40_red_16x16_at_8_5.png").rename(shop.folder / name)
        shop.box(name, 8, 5, 16, 16)
    where = [(f"is/{name}", "s3://far", name, None) for name in ("gone.png", "good.png", "late.png")]
    remote = pl.DataFrame(where, schema=dict.fromkeys(("image_id", "place", "key", "failure"), pl.String), orient="row")
    asked = []

    def read(place, key):
        asked.append(key)
        if key == "gone.png":
            raise ObjectFailure("not in the store")
        if key == "late.png" and asked.count(key) == 1:
            raise ObjectFailure("timed out", transient=True)
        return (shop.folder / key).read_bytes()

    shop.run(remote=remote, read_remote=read)
    assert list(shop.failures().values()) == ["not in the store", None, "cannot be had now: timed out"]
    shop.run(remote=remote, read_remote=read)
    assert list(shop.failures().values()) == ["not in the store", None, None]
    assert sorted(asked) == ["gone.png", "good.png", "late.png", "late.png"]


# -- every file there is ----------------------------------------------------------------------------------------------


def test_pad_is_the_tight_crop_in_black(shop):
    draw(shop.folder, "64x40_red_16x10_at_48_0.png")
    shop.box("64x40_red_16x10_at_48_0.png", 48, 0, 16, 10).run(WHOLE.model_copy(update={"style": "pad"}))
    (found,) = shop.stored()
    wanted = Image.new("RGB", (16, 16))
    wanted.paste("red", (0, 3, 16, 13))
    assert close(found, wanted, 8)


@pytest.mark.parametrize("style", ["square", "tight", "pad"])
def test_whatever_the_boxes_a_jpeg_gives_what_pillow_gives(shop, style, monkeypatch):
    """Pixels before encoding, bit for bit, though only the rows that are wanted are decoded."""
    before_encoding = {}

    def keep(pixels, place, crop_id, quality, write=crop_io.write_jpeg):
        before_encoding[crop_id.rpartition("/")[2]] = np.array(pixels)
        return write(pixels, place, crop_id, quality)

    monkeypatch.setattr(crop_io, "write_jpeg", keep)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    shop.folder.mkdir()
    chance = random.Random(2)
    wanted = {}
    for number, sampling in enumerate((0, 1, 2, 2)):
        name = f"{number}.jpg"
        size = (chance.randint(200, 400), chance.randint(150, 300))
        coarse.resize(size, Image.Resampling.BICUBIC).save(shop.folder / name, quality=80, subsampling=sampling,
                                                           progressive=number == 3)  # fmt: skip
        for turn in range(3):
            x, y = chance.randrange(size[0]), chance.randrange(size[1] // 2)
            box = (x, y, chance.randint(1, size[0] - x), chance.randint(1, (size[1] - y) // 3))
            shop.box(name, *box)
            whole = reference(shop.folder / name, box, style == "square")
            if style == "pad":
                side = max(whole.size)
                sheet = Image.new("RGB", (side, side))
                sheet.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
                whole = sheet
            wanted[f"{name}___crop{turn:02d}.jpg"] = whole
    shop.run(WHOLE.model_copy(update={"style": style}))
    assert before_encoding.keys() == wanted.keys()
    for name, image in wanted.items():
        assert (before_encoding[name] == np.asarray(image)).all(), name


def test_a_box_above_the_break_is_used_where_that_is_asked_for(shop):
    name = "640x480_red_100x100_at_20_30_blue_100x100_at_20_370.jpg"
    whole = draw(shop.folder, name)
    rng = np.random.default_rng(0)
    noisy = np.asarray(Image.open(whole), int) + rng.integers(-9, 9, (480, 640, 1))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(whole, quality=95)
    data = whole.read_bytes()
    wanted = Image.open(io.BytesIO(data)).convert("RGB").crop((20, 30, 120, 130))
    whole.write_bytes(data[: len(data) * 6 // 10])
    shop.box(name, 20, 30, 100, 100).box(name, 20, 370, 100, 100).box(name, 20, 30, 40, 200)
    assert set(shop.run().failures().values()) == {"cannot be decoded: image file is truncated"}
    shop.run(WHOLE.model_copy(update={"truncated": "use"}))
    assert list(shop.failures().values()) == [
        None,
        "image file is truncated, and the box is not in what there is of it",
        None,
    ]
    first, second = shop.stored()
    assert first.shape == (100, 100, 3)
    assert close(first, wanted, 8)
    assert second.shape == (200, 200, 3)
    assert second.max(axis=2).min() > 40  # no black: the square is moved up into what there is
    assert shop.table["frame_hash"].null_count() == 3  # of half a frame it would be another frame's


def test_names_that_lie_and_bombs(shop):
    draw(shop.folder, "64x40_red_16x16_at_8_5.png").rename(shop.folder / "png.jpg")
    draw(shop.folder, "64x40_red_16x16_at_8_5.bmp").rename(shop.folder / "bmp.jpg")
    side = 30_000
    rows = zlib.compress(bytes((1 + side // 8) * side))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (shop.folder / "bomb.jpg").write_bytes(bomb)
    for name in ("png.jpg", "bmp.jpg", "bomb.jpg"):
        shop.box(name, 8, 5, 16, 16)
    begin = time.monotonic()
    shop.run(CropConfig(max_size=0, quality=100))
    assert time.monotonic() - begin < 20
    assert list(shop.failures().values()) == [None, "too large: 30000 x 30000 pixels (limit 200,000,000)", None]
    assert all(is_all(Image.fromarray(found), "red", 3) for found in shop.stored())
