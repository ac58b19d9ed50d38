"""Machines and list prices that plans are made with: Amazon's, us-east-1, on demand, Linux, in US dollars.

List prices as they stood in 2025; they change, so check before use. `network_gbps` is the rate that a machine holds for
hours; "up to" rates are bursts of minutes.
"""

from dataclasses import dataclass

from trapline.core.errors import InputError

AS_OF = "2025, list price, us-east-1, on demand; check before use"
GET_RATE, PUT_RATE = 5_500.0, 3_500.0  # requests a second that S3 takes per partitioned prefix, at least (its manual)
GET_DOLLARS, PUT_DOLLARS = 0.0004 / 1000, 0.005 / 1000  # a request, S3 standard
STORED_DOLLARS = 0.023 / 1e9  # a byte and month, S3 standard
SHARED_DISK_DOLLARS = 0.30 / 1e9  # a byte and month, EFS standard
TRANSFER_DOLLARS = {  # a byte, out of the images' bucket to the machines
    "same-region": 0.0,
    "other-region": 0.02 / 1e9,
    "internet": 0.09 / 1e9,
}


@dataclass(frozen=True)
class Instance:
    """A machine that can be rented.

    Args:
        vcpus: What Amazon calls so: on these machines half a core each.
        network_gbps: Gigabits per second, each way, held for hours.
        gpu: Name of each of its `gpus`, or None.
        dollars_per_hour: List price.
    """

    name: str
    vcpus: int
    memory_gb: float
    network_gbps: float
    dollars_per_hour: float
    gpu: str | None = None
    gpus: int = 0


_TABLE = (
    Instance("m6i.2xlarge", 8, 32, 3.125, 0.384),
    Instance("c6i.4xlarge", 16, 32, 6.25, 0.68),
    Instance("c7i.4xlarge", 16, 32, 6.25, 0.714),
    Instance("c6i.8xlarge", 32, 64, 12.5, 1.36),
    Instance("r6i.4xlarge", 16, 128, 6.25, 1.008),
    Instance("r6i.8xlarge", 32, 256, 12.5, 2.016),
    Instance("g4dn.xlarge", 4, 16, 5.0, 0.526, "T4", 1),
    Instance("g4dn.2xlarge", 8, 32, 10.0, 0.752, "T4", 1),
    Instance("g4dn.12xlarge", 48, 192, 50.0, 3.912, "T4", 4),
    Instance("g5.xlarge", 4, 16, 2.5, 1.006, "A10G", 1),
    Instance("g5.2xlarge", 8, 32, 5.0, 1.212, "A10G", 1),
    Instance("g6.xlarge", 4, 16, 2.5, 0.8048, "L4", 1),
    Instance("g6.2xlarge", 8, 32, 5.0, 0.9776, "L4", 1),
)
INSTANCES = {instance.name: instance for instance in _TABLE}


def instance(name: str) -> Instance:
    """A machine by its name.

    Raises:
        InputError: It is not in the table.
    """
    if name not in INSTANCES:
        raise InputError(f"{name}: not among the machines whose prices are known here: {', '.join(INSTANCES)}.")
    return INSTANCES[name]
