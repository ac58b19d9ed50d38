import io

import numpy as np
import pytest
from PIL import Image

from trapline.core import hashing
from trapline.io.crops import frame_hash


def scene(seed, size=(320, 240)):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def distance(a, b):
    bits = [np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)) for text in (a, b)]
    return int((bits[0] != bits[1]).sum())


def encoded(image, quality=60):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def test_copies_agree_and_places_do_not():
    original = scene(0, (1280, 960))
    known = frame_hash(original)
    assert known is not None
    assert len(known) == 64
    for copy in (encoded(original), original.resize((640, 480)), original.point(lambda value: value * 0.9)):
        assert distance(known, frame_hash(copy)) <= 10
    assert all(distance(known, frame_hash(scene(seed))) > 60 for seed in range(1, 8))


@pytest.mark.parametrize("size", [(1, 1), (7, 900), (64, 64), (100, 40)])
def test_any_size_has_a_hash(size):
    assert len(frame_hash(scene(0, (400, 400)).resize(size, Image.Resampling.BOX)) or "0" * 64) == 64


def test_a_flat_frame_has_none():
    assert frame_hash(Image.new("RGB", (640, 480), (3, 3, 3))) is None


def test_near_pairs_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    bits = rng.random((40, 256)) < 0.5
    for n in range(20, 40):  # copies with 0 to 19 bits turned
        bits[n] = bits[n - 20]
        bits[n, rng.choice(256, n - 20, replace=False)] ^= True
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    groups = [str(n % 3) for n in range(40)]
    expected = [
        (a, b, distance(hashes[a], hashes[b]))
        for a in range(40)
        for b in range(a + 1, 40)
        if groups[a] != groups[b] and distance(hashes[a], hashes[b]) <= 15
    ]
    assert len(expected) > 8
    assert list(zip(*map(list, hashing.near_pairs(hashes, groups, 15)), strict=True)) == expected
    assert all(len(part) == 0 for part in hashing.near_pairs([], [], 5))
