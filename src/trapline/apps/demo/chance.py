"""Random streams that depend on names alone, so that order, workers and restarts change nothing."""

import hashlib

import numpy as np


def stream(*names: object) -> np.random.Generator:
    """Return the generator that belongs to these names (their `str`), the same on every call and machine."""
    digest = hashlib.sha256("|".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest[:16], "big")))


def token(*names: object, length: int = 32) -> str:
    """Return a hexadecimal identifier of `length` characters for these names."""
    return hashlib.sha256("|".join(str(name) for name in names).encode()).hexdigest()[:length]
