"""A run that is thought of, and what each of its stages has to do."""

import math
from dataclasses import dataclass
from typing import Literal

from trapline.core.errors import InputError
from trapline.core.scale.costs import TRAINING_ON_GPU, Costs
from trapline.core.scale.prices import TRANSFER_DOLLARS, Instance, instance

PART_IMAGES, STREAMED_PART_IMAGES, PART_CROPS = 64, 32, 512  # as the stages have it
MODEL_BYTES = 4.65e6 * 4  # the default model's gradients, which machines that train together exchange
STEP_CROPS = 64  # of a training step, per GPU or machine

Source = Literal["same-region", "other-region", "internet"]


@dataclass(frozen=True)
class Plan:
    """A run over very many images.

    Args:
        count: Images.
        nodes: Machines, one that leads (the head) apart.
        machine: Name of their type in prices.INSTANCES.
        image_mb, megapixels, boxes_per_image: Of an image, on average.
        crop_px: Side of a crop; of crops of several sizes the root of the mean square.
        keep: All images are fetched onto a shared disk, and cropped from there. Else crop reads each from its store.
        packed: Crops are stored many to an object. Else each is an object.
        prefixes: Of the store, among which keys are spread evenly.
        source: Where the machines are, seen from the images' bucket.
        embed: Features of all crops are made too.
        train_crops, epochs, train_nodes: A training, and the machines it is given; no crops, no training.
        months: For which what is stored is paid.
        dollars_per_hour: Of a machine, in place of the list price.
    """

    count: int
    nodes: int = 1
    machine: str = "g4dn.xlarge"
    image_mb: float = 1.5
    megapixels: float = 3.0
    boxes_per_image: float = 1.2
    crop_px: float = 480.0
    keep: bool = False
    packed: bool = False
    prefixes: int = 1
    source: Source = "same-region"
    embed: bool = False
    train_crops: int = 100_000
    epochs: int = 12
    train_nodes: int = 1
    months: float = 1.0
    dollars_per_hour: float | None = None

    def check(self) -> None:
        """Raises InputError where a number makes no sense, with all that do not; or the machine is not known."""
        least = {"count": 1, "nodes": 1, "prefixes": 1, "train_nodes": 1, "epochs": 1, "train_crops": 0, "months": 0}
        problems = [
            f"--{name.replace('_', '-')} {getattr(self, name)}: at least {low}"
            for name, low in least.items()
            if not getattr(self, name) >= low
        ]
        for name in ("image_mb", "megapixels", "boxes_per_image", "crop_px", "dollars_per_hour"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                problems.append(f"--{name.replace('_', '-')} {value}: above 0")
        if self.source not in TRANSFER_DOLLARS:
            problems.append(f"--source {self.source}: one of {', '.join(TRANSFER_DOLLARS)}")
        if problems:
            raise InputError("such a run cannot be:", problems)
        instance(self.machine)

    @property
    def crops(self) -> int:
        """About how many there will be."""
        return round(self.count * self.boxes_per_image)

    @property
    def crop_mp(self) -> float:
        """Megapixels of a crop."""
        return self.crop_px**2 / 1e6


@dataclass(frozen=True)
class Work:
    """What a stage has to do. All but `rows` and `part_rows` are of a row: an image, or a crop.

    Args:
        nodes: Machines that work at it.
        cpu_s: CPU seconds of a machine; `gpu_s` of one of its GPUs, 0 where none is used.
        in_bytes, out_bytes: Over a machine's network.
        gets, puts: Requests to object storage.
        driver_s: Of the process that leads.
    """

    stage: str
    rows: int
    part_rows: int
    nodes: int
    cpu_s: float
    gpu_s: float = 0.0
    in_bytes: float = 0.0
    out_bytes: float = 0.0
    gets: float = 0.0
    puts: float = 0.0
    driver_s: float = 0.0

    @property
    def parts(self) -> int:
        """Units that are handed out."""
        return math.ceil(self.rows / self.part_rows)

    def slots(self, machine: Instance) -> int:
        """Parts that a machine works on at a time: one per GPU, or else per vCPU."""
        return machine.gpus if self.gpu_s else machine.vcpus

    def part_s(self, machine: Instance) -> float:
        """Seconds of a part in its slot, without waits for others. A GPU is fed by its share of the vCPUs."""
        row_s = self.cpu_s
        if self.gpu_s:
            row_s = max(self.gpu_s, self.cpu_s * machine.gpus / machine.vcpus)
        return self.part_rows * row_s


def works(plan: Plan, costs: Costs) -> list[Work]:
    """What each stage of a run has to do, in order."""
    made = _images(plan, costs)
    scored = _crops(plan, costs)
    if plan.embed:
        made.append(_named(scored, "embed"))
    if plan.train_crops:
        made.append(_training(plan, costs))
    return [*made, _named(scored, "predict")]


def _images(plan: Plan, costs: Costs) -> list[Work]:
    """fetch, if images are kept, and crop."""
    size = plan.image_mb * 1e6
    box_s = costs.crop_box_s + costs.crop_box_mp_s * plan.crop_mp
    cut = costs.crop_s + costs.crop_mp_s * plan.megapixels + box_s * plan.boxes_per_image
    part = PART_IMAGES if plan.keep else STREAMED_PART_IMAGES
    cropping = Work(
        "crop",
        plan.count,
        part,
        plan.nodes,
        cpu_s=cut if plan.keep else cut + costs.read_s + costs.read_mb_s * plan.image_mb,
        in_bytes=size,
        out_bytes=crop_bytes(plan, costs) * plan.boxes_per_image,
        gets=0.0 if plan.keep else 1.0,
        puts=1 / part if plan.packed else plan.boxes_per_image,
        driver_s=costs.driver_s,
    )
    if not plan.keep:
        return [cropping]
    fetch_s = costs.fetch_s + costs.fetch_mb_s * plan.image_mb
    fetching = Work("fetch", plan.count, PART_IMAGES, plan.nodes, fetch_s, 0.0, size, size, 1.0, 0.0, costs.driver_s)
    return [fetching, cropping]


def _crops(plan: Plan, costs: Costs) -> Work:
    """Scores, or features, of all crops."""
    gpu_s = gpu_seconds(plan, costs)
    return Work(
        "",
        plan.crops,
        PART_CROPS,
        plan.nodes,
        cpu_s=load_seconds(plan, costs) + (0.0 if gpu_s else costs.network_s),
        gpu_s=gpu_s,
        in_bytes=crop_bytes(plan, costs),
        gets=1 / PART_CROPS if plan.packed else 1.0,
        driver_s=costs.driver_s,
    )


def _training(plan: Plan, costs: Costs) -> Work:
    """The epochs of a training, a step of each machine (or GPU) as a part."""
    gpu_s = gpu_seconds(plan, costs) * TRAINING_ON_GPU
    exchanged = 0.0 if plan.train_nodes == 1 else 2 * (1 - 1 / plan.train_nodes) * MODEL_BYTES
    cpu_s = load_seconds(plan, costs) + (0.0 if gpu_s else costs.train_s)
    rows = min(plan.train_crops, plan.crops) * plan.epochs
    moved = exchanged / STEP_CROPS
    read = crop_bytes(plan, costs) / plan.epochs  # from the store once, then from the machine's own disk
    gets = (1 / PART_CROPS if plan.packed else 1.0) / plan.epochs
    return Work("train", rows, STEP_CROPS, plan.train_nodes, cpu_s, gpu_s, moved + read, moved, gets)


def crop_bytes(plan: Plan, costs: Costs) -> float:
    """Of a crop's file."""
    return costs.crop_bytes_px * plan.crop_px**2


def load_seconds(plan: Plan, costs: Costs) -> float:
    """Of reading a crop."""
    return costs.load_s + costs.load_mp_s * plan.crop_mp


def gpu_seconds(plan: Plan, costs: Costs) -> float:
    """Of a crop's scores, on the machine's kind of GPU; 0 where it has none.

    Raises:
        InputError: The rate of such a GPU is not known.
    """
    gpu = instance(plan.machine).gpu
    if gpu is None:
        return 0.0
    if gpu not in costs.gpu_crops_per_s:
        raise InputError(f"how fast a {gpu} is, is not known: add it to gpu_crops_per_s in the file of --costs.")
    return 1 / costs.gpu_crops_per_s[gpu]


def _named(work: Work, stage: str) -> Work:
    return Work(**{**work.__dict__, "stage": stage})
