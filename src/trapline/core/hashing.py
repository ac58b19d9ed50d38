"""Perceptual hashes of frames, and the pairs of them that nearly agree. Pure arrays.

A hash holds 256 bits: which of the lowest frequencies of a frame's brightness are above their median. It survives
another encoding, another size and small changes of light; a moved animal changes it a little, another place a lot.

Source: the DCT hash of Zauner 2010 (Implementation and Benchmarking of Perceptual Image Hash Functions), with 256 bits
instead of 64, because frames of one camera share all but their details. Measured in docs/split.md.
"""

from collections.abc import Sequence

import numpy as np

SIDE = 64  # pixels of the brightness that is transformed
HASHED = 0.75  # share of a frame's rows, from the top, that its hash is made of (docs/log.md)
KEPT = 17  # lowest frequencies per axis
BITS = 256
FLAT = 2.0  # standard deviation of brightness (of 255) below which a frame shows next to nothing
BANDS = 16
CHUNK = 2_000_000  # candidate pairs compared at once


def _transform() -> np.ndarray:
    """(KEPT, SIDE): the first rows of the orthonormal DCT-II."""
    k, n = np.arange(KEPT)[:, None], np.arange(SIDE)
    return np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)) * np.sqrt(np.where(k == 0, 1, 2) / SIDE)


_DCT = _transform()


def frame_hash(grey: np.ndarray) -> str | None:
    """The hash of a (SIDE, SIDE) brightness, 0 to 255, as 64 hexadecimal digits; None where it is flat."""
    if grey.std() < FLAT:
        return None
    frequencies = (_DCT @ grey @ _DCT.T).ravel()[1 : BITS + 1]  # the first is the mean brightness
    return np.packbits(frequencies > np.median(frequencies)).tobytes().hex()


def near_pairs(hashes: Sequence[str], groups: Sequence[str], limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of different groups whose hashes differ in at most `limit` bits.

    Args:
        hashes: From `frame_hash`.
        groups: The group of each.
        limit: Below BANDS: then one of so many bands of a near pair agrees exactly, and only such pairs are compared.

    Returns:
        first, second, distance: indices into `hashes` with first < second, and differing bits; sorted.
    """
    assert limit < BANDS
    if not len(hashes):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    words = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(len(hashes), -1)
    bands = np.ascontiguousarray(words).view(np.uint16)
    number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    found = [np.zeros((0, 3), dtype=np.int64)]
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        edges = np.flatnonzero(np.diff(bands[order, band])) + 1
        for bucket in np.split(order, edges):
            if len(bucket) > 1 and number[bucket].min() != number[bucket].max():
                found.append(_compare(np.sort(bucket), words, number, limit))
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1], pairs[:, 2]


def _compare(bucket: np.ndarray, words: np.ndarray, number: np.ndarray, limit: int) -> np.ndarray:
    """(pairs, 3): first, second, distance of the near pairs of different groups in a sorted bucket."""
    near = []
    step = max(1, CHUNK // len(bucket))
    for begin in range(0, len(bucket), step):
        rows = bucket[begin : begin + step]
        a, b = np.nonzero((rows[:, None] < bucket) & (number[rows][:, None] != number[bucket]))
        first, second = rows[a], bucket[b]
        distance = np.bitwise_count(words[first] ^ words[second]).sum(1, dtype=np.int64)
        keep = distance <= limit
        near.append(np.column_stack([first[keep], second[keep], distance[keep]]))
    return np.concatenate(near)
