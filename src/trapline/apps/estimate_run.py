"""`trapline estimate run`: what a run over very many images takes, before there is a single machine."""

from dataclasses import asdict, dataclass
from pathlib import Path

from trapline.core.errors import InputError
from trapline.core.quantities import say_size
from trapline.core.scale import prices
from trapline.core.scale.costs import GPU_SOURCE, MEASURED, Costs, costs_of
from trapline.core.scale.model import RunEstimate, estimate, nodes_for
from trapline.core.scale.plan import Plan, works
from trapline.core.scale.simulation import Played, Trouble, play

SEEDS = 3


@dataclass(frozen=True)
class Course:
    """A stage played through with `SEEDS` seeds: seconds of the shortest and the longest course, and the busiest
    resource of the longest, with its share of the time."""

    stage: str
    shortest_s: float
    longest_s: float
    bottleneck: str
    busy: float
    retries: int
    lost: int


def estimate_run(plan: Plan, costs: Costs | None = None, *, within_s: float | None = None) -> RunEstimate:
    """What a run takes by the cost model (docs/scale.md).

    Args:
        costs: Default: those that trapline was measured with.
        within_s: With the fewest machines that take no longer, in place of the plan's.

    Raises:
        InputError: A number makes no sense; an unknown machine; no number of machines is enough.
    """
    used = MEASURED if costs is None else costs
    plan.check()
    if within_s is not None:
        plan = Plan(**{**asdict(plan), "nodes": nodes_for(plan, used, within_s)})
    return estimate(plan, used)


def simulate_run(plan: Plan, costs: Costs | None = None, trouble: Trouble | None = None) -> list[Course]:
    """The map stages of a run played through with stragglers, retries and lost machines; seconds without their start.

    A training is not among them: its machines wait for each other at every step.

    Args:
        trouble: Default: what is usual, with the spread that was measured.
    """
    used = MEASURED if costs is None else costs
    plan.check()
    usual = trouble or Trouble(spread=used.spread)
    machine = prices.instance(plan.machine)
    found = []
    for work in works(plan, used):
        if work.stage == "train":
            continue
        courses = [play(work, machine, plan.prefixes, usual, seed) for seed in range(SEEDS)]
        longest: Played = max(courses, key=lambda course: course.seconds)
        found.append(
            Course(
                work.stage,
                min(course.seconds for course in courses),
                longest.seconds,
                longest.bottleneck,
                longest.busy[longest.bottleneck],
                longest.retries,
                longest.lost,
            )
        )
    return found


def averages(root: Path) -> dict[str, float]:
    """What a project's tables say of its images, by the plan's names: `image_mb`, `megapixels`,
    `boxes_per_image`; those that they do say.

    Raises:
        InputError: There is no project, or no images were ingested.
    """
    import polars as pl

    from trapline.project import Project  # neither is needed without --like

    project = Project(root)
    if not project.layout.table("images").exists():
        raise InputError(f"--like {root}: its images were not ingested yet. Do that first: trapline ingest")
    images, boxes = project.table("images"), project.table("boxes")
    files = project.table("files") if project.layout.table("files").exists() else None
    size = files["bytes"].mean() if files is not None else None
    pixels = images.select((pl.col("width_px").cast(pl.Float64) * pl.col("height_px")).mean()).item()
    if pixels is None and files is not None:
        pixels = files.select((pl.col("width_px").cast(pl.Float64) * pl.col("height_px")).mean()).item()
    found = {
        "image_mb": size / 1e6 if isinstance(size, float) else None,
        "megapixels": pixels / 1e6 if pixels is not None else None,
        "boxes_per_image": boxes.height / max(images.height, 1),
    }
    return {name: value for name, value in found.items() if value}


def read_costs(path: Path) -> Costs:
    """Costs from a JSON file.

    Raises:
        InputError: It cannot be read, or is not what `estimate run --json` or the benchmark writes.
    """
    import msgspec

    try:
        return costs_of(msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        raise InputError(f"--costs {path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise InputError(f"--costs {path}: not JSON ({error}).") from error


def as_json(found: RunEstimate, costs: Costs, played: list[Course] | None) -> dict[str, object]:
    """What `--json` prints."""
    given = {name: value for name, value in vars(costs).items() if name != "gpu_crops_per_s"}
    given["gpu_crops_per_s"] = dict(costs.gpu_crops_per_s)
    content = found.as_dict() | {"prices": prices.AS_OF, "costs": given}
    return content if played is None else content | {"simulated": [asdict(one) for one in played]}


def lines(found: RunEstimate, costs: Costs) -> list[str]:
    """What a person is told below the table of stages."""
    plan, worst = found.plan, found.bottleneck
    machine = prices.instance(plan.machine)
    paid = ", ".join(f"{what} ${amount:,.2f}" for what, amount in found.dollars.items() if amount)
    told = [
        f"machines: {plan.nodes:,} x {plan.machine} ({machine.vcpus} vCPUs"
        + (f", {machine.gpus} x {machine.gpu}" if machine.gpu else "")
        + f") and {found.head} to lead",
        f"images: {say_size(found.bytes_in)}; crops: {say_size(found.crop_bytes)}",
        f"dollars: {found.total:,.2f} ({paid}; {prices.AS_OF})",
        f"longest: {worst.stage}, bound by: {worst.bound_by}. {_remedy(worst.bound_by)}",
    ]
    if not found.head_fits:
        told.append(
            f"the tables take about {found.head_memory_gb:,.0f} GB of the leading machine's memory, which {found.head} "
            "does not hold: divide the images among several projects, or lead from a larger machine"
        )
    told.append(f"costs of an image measured on: {costs.measured_on}")
    if machine.gpu:
        told.append(f"{machine.gpu}: {costs.gpu_crops_per_s[machine.gpu]:,.0f} crops/s ({GPU_SOURCE})")
    return told


def _remedy(bound: str) -> str:
    spread, packed = "spread the keys over more prefixes (--prefixes)", "pack the crops (--packed)"
    return {
        "CPU": "More machines (--nodes), or ones with more vCPUs (--instance), shorten it",
        "GPU": "More GPUs shorten it",
        "network": "More machines (--nodes), or ones with a wider network, shorten it",
        "GET rate": f"More machines do not: {spread}, or {packed}",
        "PUT rate": f"More machines do not: {packed}, or {spread}",
        "driver": "More machines do not: divide the images among several projects",
    }[bound]
