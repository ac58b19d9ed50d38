"""The cost model: what each stage's time is bound by, how long it takes, and what the whole costs.

A stage takes as long as the resource that has most to do for it: cores, GPUs, the machines' network, the store's rate
of requests, or the process that leads. All work at once; none waits for another.
"""

import math
from dataclasses import asdict, dataclass, replace

from trapline.core.errors import InputError
from trapline.core.scale import prices
from trapline.core.scale.costs import Costs
from trapline.core.scale.plan import Plan, Work, crop_bytes, works
from trapline.core.scale.prices import Instance

CPU, GPU, NETWORK, GETS, PUTS, DRIVER = "CPU", "GPU", "network", "GET rate", "PUT rate", "driver"
HEADS = ("m6i.2xlarge", "r6i.4xlarge", "r6i.8xlarge")  # machines that lead: the first whose memory holds the tables
HELD = 0.8  # of a machine's memory that may be tables
MOST_NODES = 10_000


@dataclass(frozen=True)
class StageEstimate:
    """What a stage takes.

    Args:
        rows: Images, or crops (of a training: times its epochs).
        seconds: From its begin to its end.
        bound_by: The resource that has most to do.
        needs_s: Seconds that each resource needs for its share, were it alone.
        dollars: Of the machines, the head included.
    """

    stage: str
    rows: int
    nodes: int
    seconds: float
    bound_by: str
    needs_s: dict[str, float]
    dollars: float


@dataclass(frozen=True)
class RunEstimate:
    """What a run takes; dollars by what they are paid for.

    Args:
        head: Machine that leads; `head_memory_gb` are its tables', `head_fits` says whether it holds them.
        bytes_in, crop_bytes: Of all images, and all crops.
    """

    plan: Plan
    stages: tuple[StageEstimate, ...]
    head: str
    head_memory_gb: float
    head_fits: bool
    bytes_in: float
    crop_bytes: float
    dollars: dict[str, float]

    @property
    def seconds(self) -> float:
        """Of all stages, one after another."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def bottleneck(self) -> StageEstimate:
        """The stage that takes longest."""
        return max(self.stages, key=lambda stage: stage.seconds)

    @property
    def total(self) -> float:
        """Dollars."""
        return sum(self.dollars.values())

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        found = asdict(self)
        return found | {"seconds": self.seconds, "bottleneck": self.bottleneck.stage, "total_dollars": self.total}


def needs(work: Work, machine: Instance, prefixes: int) -> dict[str, float]:
    """Seconds that each resource needs for a stage, were there no other: cores and GPUs by whole parts, so that no more
    slots count than there are parts."""
    rounds = math.ceil(work.parts / (work.nodes * work.slots(machine)))
    if work.gpu_s:
        busy = {
            GPU: rounds * work.part_rows * work.gpu_s,
            CPU: rounds * work.part_rows * work.cpu_s * machine.gpus / machine.vcpus,
        }
    else:
        busy = {CPU: rounds * work.part_s(machine)}
    network = work.nodes * machine.network_gbps / 8 * 1e9
    return busy | {
        NETWORK: work.rows * max(work.in_bytes, work.out_bytes) / network,
        GETS: work.rows * work.gets / (prices.GET_RATE * prefixes),
        PUTS: work.rows * work.puts / (prices.PUT_RATE * prefixes),
        DRIVER: work.rows * work.driver_s,
    }


def estimate(plan: Plan, costs: Costs) -> RunEstimate:
    """What a run takes.

    Raises:
        InputError: A number of the plan makes no sense, or its machine is not known.
    """
    plan.check()
    machine = prices.instance(plan.machine)
    hourly = machine.dollars_per_hour if plan.dollars_per_hour is None else plan.dollars_per_hour
    memory = max(plan.count, plan.crops) * costs.driver_bytes
    head = prices.instance(next((name for name in HEADS if _holds(name, memory)), HEADS[-1]))
    stages, gets, puts = [], 0.0, 0.0
    for work in works(plan, costs):
        needed = needs(work, machine, plan.prefixes)
        bound = max(needed, key=lambda name: needed[name])
        seconds = needed[bound] + costs.start_s
        dollars = seconds / 3600 * (work.nodes * hourly + head.dollars_per_hour)
        stages.append(StageEstimate(work.stage, work.rows, work.nodes, seconds, bound, needed, dollars))
        gets, puts = gets + work.rows * work.gets, puts + work.rows * work.puts
    images, crops = plan.count * plan.image_mb * 1e6, plan.crops * crop_bytes(plan, costs)
    stored = crops * prices.STORED_DOLLARS + (images * prices.SHARED_DISK_DOLLARS if plan.keep else 0.0)
    dollars = {
        "machines": sum(stage.dollars for stage in stages),
        "requests": gets * prices.GET_DOLLARS + puts * prices.PUT_DOLLARS,
        "transfer": images * prices.TRANSFER_DOLLARS[plan.source],
        "storage": stored * plan.months,
    }
    return RunEstimate(plan, tuple(stages), head.name, memory / 1e9, _holds(head.name, memory), images, crops, dollars)


def _holds(name: str, memory: float) -> bool:
    return memory <= HELD * prices.instance(name).memory_gb * 1e9


def nodes_for(plan: Plan, costs: Costs, within_s: float) -> int:
    """The fewest machines with which a run takes no longer than `within_s`.

    Raises:
        InputError: More machines do not help; it says what binds.
    """
    most = estimate(replace(plan, nodes=MOST_NODES), costs)
    if most.seconds > within_s:
        worst = most.bottleneck
        raise InputError(
            f"no number of machines does it within {within_s:,.0f} s: {most.seconds:,.0f} s are needed even with "
            f"{MOST_NODES:,}, of which {worst.stage} takes {worst.seconds:,.0f} (bound by: {worst.bound_by}). "
            "Give it more time, or ease that: --packed or --prefixes for requests, --train-nodes for training, "
            "several projects for the driver."
        )
    low, high = 0, MOST_NODES  # low is too few
    while high - low > 1:
        middle = (low + high) // 2
        fits = estimate(replace(plan, nodes=middle), costs).seconds <= within_s
        low, high = (low, middle) if fits else (middle, high)
    return high
