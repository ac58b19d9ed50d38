"""calibration.json: what evaluate learnt about a run's scores, beside its checkpoint (docs/evaluate.md)."""

import math
from pathlib import Path

import msgspec
import numpy as np

from trapline.core.calibration import Calibration
from trapline.core.errors import InputError
from trapline.io import atomic

VERSION = 1


class _File(msgspec.Struct):
    version: int
    labels: list[str]
    method: str
    reason: str | None
    scale: list[float]
    offset: list[float]
    temperature: float
    fitted_on: dict[str, str | int]
    log_loss: dict[str, float]
    precision: float | None
    thresholds: dict[str, float | None]
    reasons: dict[str, str]


def write(path: Path, calibration: Calibration) -> None:
    """Write it, whole or not at all; the same bytes for the same content."""
    content = _File(
        version=VERSION,
        labels=list(calibration.labels),
        method=calibration.method,
        reason=calibration.reason,
        scale=[float(value) for value in calibration.scale],
        offset=[float(value) for value in calibration.offset],
        temperature=calibration.temperature,
        fitted_on={"split": "val", "crops": calibration.crops, "groups": calibration.groups},
        log_loss=dict(calibration.log_loss),
        precision=calibration.precision,
        thresholds=dict(calibration.thresholds),
        reasons=dict(calibration.reasons),
    )
    atomic.replace_text(path, msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")


def read(path: Path, labels: list[str]) -> Calibration:
    """Read it, for scores in the order of `labels`.

    Raises:
        InputError: It is missing, no such file, or of other labels.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        raise InputError(f"{path} is missing. `trapline evaluate` makes it.") from None
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a calibration.json: {error}. `trapline evaluate` makes it again.") from None
    if found.version != VERSION:
        raise InputError(f"{path} is of version {found.version}; this trapline reads version {VERSION}.")
    if found.labels != labels:
        raise InputError(
            f"{path} is of other labels ({len(found.labels)}: {', '.join(found.labels[:5])} ...) than the scores "
            f"({len(labels)}: {', '.join(labels[:5])} ...). `trapline evaluate` makes it again."
        )
    if not len(found.scale) == len(found.offset) == len(labels) or not all(
        math.isfinite(value) for value in (*found.scale, *found.offset)
    ):
        raise InputError(f"{path} has not one scale and one offset per label. `trapline evaluate` makes it again.")
    return Calibration(
        labels=found.labels,
        method=found.method,
        reason=found.reason,
        scale=np.array(found.scale),
        offset=np.array(found.offset),
        temperature=found.temperature,
        crops=int(found.fitted_on.get("crops", 0)),
        groups=int(found.fitted_on.get("groups", 0)),
        log_loss=found.log_loss,
        precision=found.precision,
        thresholds=found.thresholds,
        reasons=found.reasons,
    )
