"""What an image costs each stage: CPU seconds, bytes, GPU seconds. Measured by benchmarks/scale.py (docs/scale.md)."""

from dataclasses import dataclass, field, fields
from types import MappingProxyType

from trapline.core.errors import InputError


@dataclass(frozen=True)
class Costs:
    """CPU seconds are of one core of the machine they were measured on, in all threads together.

    Args:
        measured_on: The machine, and when.
        fetch_s, fetch_mb_s: Fetching an image onto a disk, and each megabyte of it.
        read_s, read_mb_s: The same of reading it into memory, where nothing is kept.
        crop_s, crop_mp_s, crop_box_s, crop_box_mp_s: Cropping a file: an image, each of its megapixels, each box, each
            megapixel of a crop.
        load_s, load_mp_s: Reading a crop from its file and reducing it to the classifier's input; each megapixel.
        network_s: The default model's scores or features of a crop, on the CPU.
        train_s: A training step's share of a crop: forward and back on the CPU, without loading it.
        crop_bytes_px: A crop's file, per pixel.
        driver_s: The process that hands out parts and gathers their tables, per row.
        driver_bytes: What it holds in memory, per row.
        start_s: Until a stage's first part is at work: imports, weights, tables.
        spread: Standard deviation of a part's time over its mean, without waits for others.
        gpu_crops_per_s: The default model's scores on a GPU, by its name. Not measured: see GPU_SOURCE.
    """

    measured_on: str
    fetch_s: float
    fetch_mb_s: float
    read_s: float
    read_mb_s: float
    crop_s: float
    crop_mp_s: float
    crop_box_s: float
    crop_box_mp_s: float
    load_s: float
    load_mp_s: float
    network_s: float
    train_s: float
    crop_bytes_px: float
    driver_s: float
    driver_bytes: float
    start_s: float
    spread: float
    gpu_crops_per_s: MappingProxyType[str, float] = field(default_factory=lambda: GPU_CROPS_PER_S)


# timm's own table gives tf_efficientnet_lite0, 224 px, half precision, 8,163 images/s on an RTX 3090
# (results/benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv). Depthwise networks wait for memory: scaled by its
# bandwidth, 936 GB/s there; 320, 600 and 300 here.
GPU_SOURCE = "timm's rate on an RTX 3090, scaled by memory bandwidth; not measured"
GPU_CROPS_PER_S = MappingProxyType({"T4": 2790.0, "A10G": 5230.0, "L4": 2620.0})
TRAINING_ON_GPU = 3.0  # times a crop's scores: the way back is about twice the way forward

# What is not from the benchmark: `start_s` is assumed, the driver's are Ray's (benchmarks/ray_cost.py). The network and
# training are the default model's, in full precision, on cores with AVX-512.
MEASURED = Costs(
    measured_on="2 cores of an AMD EPYC, shared with other work, November 2026 (benchmarks/scale.py)",
    fetch_s=0.40e-3,
    fetch_mb_s=1.9e-3,
    read_s=0.27e-3,
    read_mb_s=0.90e-3,
    crop_s=0.74e-3,
    crop_mp_s=2.7e-3,
    crop_box_s=0.84e-3,
    crop_box_mp_s=14e-3,
    load_s=0.85e-3,
    load_mp_s=12e-3,
    network_s=44e-3,
    train_s=207e-3,
    crop_bytes_px=0.305,
    driver_s=95e-6,
    driver_bytes=1500.0,
    start_s=20.0,
    spread=0.15,
)


def costs_of(content: object) -> Costs:
    """Costs from what `trapline estimate run --json` wrote: the object itself, or the whole output with its `costs`.

    Raises:
        InputError: Something is missing, is no number or is below zero; all of it is named.
    """
    given = content.get("costs", content) if isinstance(content, dict) else None
    if not isinstance(given, dict):
        raise InputError("no costs in it: give a file that `trapline estimate run --measure --json` wrote.")
    problems: list[str] = []
    values: dict[str, object] = {}
    for one in fields(Costs):
        value = given.get(one.name)
        if one.name == "measured_on":
            values[one.name] = str(value)
        elif one.name == "gpu_crops_per_s":
            rates = value if isinstance(value, dict) else {}
            problems += [f"{one.name}: {name} is {rate!r}" for name, rate in rates.items() if not _is_rate(rate)]
            values[one.name] = MappingProxyType({**GPU_CROPS_PER_S, **rates})
        elif not _is_number(value) or value < 0:  # type: ignore[operator]
            problems.append(f"{one.name}: {value!r}, but a number from 0 on is needed")
        else:
            values[one.name] = float(value)  # type: ignore[arg-type]
    if problems:
        raise InputError("these costs cannot be used:", problems)
    return Costs(**values)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_rate(value: object) -> bool:
    return _is_number(value) and value > 0  # type: ignore[operator]
