"""`trapline estimate run`."""

import math
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from trapline.core.errors import InputError
from trapline.core.quantities import say_time, seconds
from trapline.io.console import ConsoleLog


def estimate_run(
    *,
    count: float,
    nodes: int | None = None,
    within: str | None = None,
    instance: str = "g4dn.xlarge",
    like: Path | None = None,
    image_mb: float | None = None,
    megapixels: float | None = None,
    boxes_per_image: float | None = None,
    crop_px: float = 480,
    keep: Annotated[bool, Parameter(negative=())] = False,
    packed: Annotated[bool, Parameter(negative=())] = False,
    prefixes: int = 1,
    source: Literal["same-region", "other-region", "internet"] = "same-region",
    embed: Annotated[bool, Parameter(negative=())] = False,
    train_crops: float = 100_000,
    epochs: int = 12,
    train_nodes: int = 1,
    months: float = 1.0,
    dollars_per_hour: float | None = None,
    costs: Path | None = None,
    simulate: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what a run over very many images takes on rented machines: time, what binds it, dollars (docs/scale.md).

    Args:
        count: Images, as in 1e8.
        nodes: Machines, besides the one that leads. Default: 1.
        within: In place of `nodes`, a length of time such as 24h: the fewest machines that take no longer.
        instance: Their type, as Amazon calls it.
        like: A project whose images yours are like: megabytes, megapixels and boxes are taken from its tables.
        image_mb: Megabytes of an image, on average. Default: 1.5.
        megapixels: Of an image, on average. Default: 3.
        boxes_per_image: On average; each gives a crop. Default: 1.2.
        crop_px: Side of a crop, on average; crop makes none larger than its --max-size.
        keep: Fetch all images onto a shared disk first. Default: crop reads each from its store, and keeps none.
        packed: Crops are stored many to an object rather than each by itself.
        prefixes: Over which the keys are spread in the store; each takes so many requests a second.
        source: Where the machines are, seen from the images' bucket.
        embed: Make features of all crops too.
        train_crops: Crops that a training learns from; 0: no training.
        epochs: Of that training.
        train_nodes: Machines of that training.
        months: For which storage is counted.
        dollars_per_hour: Of a machine, in place of its list price (spot, or what your contract says).
        costs: JSON with what an image costs on your machines, from --json or benchmarks/scale.py.
        simulate: Play the run through too, with stragglers, retries and lost machines.
        json: Print everything as JSON.
    """
    import msgspec

    from trapline.apps import estimate_run as app
    from trapline.core.scale.costs import MEASURED
    from trapline.core.scale.plan import Plan

    if within is not None and nodes is not None:
        raise InputError("--nodes and --within: one of them. --within finds how many machines it takes.")
    within_s = None if within is None else seconds(within)
    if within is not None and within_s is None:
        raise InputError(f"--within {within}: not a length of time; write it as 24h or 90min.")
    said = {"image_mb": image_mb, "megapixels": megapixels, "boxes_per_image": boxes_per_image}
    images = {} if like is None else app.averages(like)
    images |= {name: value for name, value in said.items() if value is not None}
    plan = Plan(
        count=_whole("count", count),
        nodes=1 if nodes is None else nodes,
        machine=instance,
        **images,
        crop_px=crop_px,
        keep=keep,
        packed=packed,
        prefixes=prefixes,
        source=source,
        embed=embed,
        train_crops=_whole("train-crops", train_crops),
        epochs=epochs,
        train_nodes=train_nodes,
        months=months,
        dollars_per_hour=dollars_per_hour,
    )
    used = MEASURED if costs is None else app.read_costs(costs)
    found = app.estimate_run(plan, used, within_s=within_s)
    played = app.simulate_run(found.plan, used) if simulate else None
    log = ConsoleLog()
    if json:
        content = msgspec.json.encode(app.as_json(found, used, played))
        log.console.print(msgspec.json.format(content).decode(), markup=False)
        return
    table = Table("stage", "rows", "machines", "time", "bound by", "dollars", box=None, pad_edge=False)
    for stage in found.stages:
        took = (say_time(stage.seconds), stage.bound_by, f"{stage.dollars:,.2f}")
        table.add_row(stage.stage, f"{stage.rows:,}", f"{stage.nodes:,}", *took)
    table.add_row("all", "", "", say_time(found.seconds), "", f"{found.dollars['machines']:,.2f}")
    log.console.print(table)
    for one in played or ():
        log.note(
            f"{one.stage}, played through: {say_time(one.shortest_s)} to {say_time(one.longest_s)}, {one.bottleneck} "
            f"busy {one.busy:.0%}; {one.retries:,} parts tried again, {one.lost:,} machines lost"
        )
    for line in app.lines(found, used):
        log.note(line)


def _whole(name: str, value: float) -> int:
    """1e8 as a number of things."""
    if not math.isfinite(value) or value != int(value):
        raise InputError(f"--{name} {value:g}: a whole number, such as 1e8.")
    return int(value)
