"""`trapline estimate fetch`: what fetching takes, before anything is fetched."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from trapline.core.addresses import addresses
from trapline.core.config import CropConfig, FetchConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.quantities import say_size, say_time
from trapline.io import downloads, objects
from trapline.io.loop import run
from trapline.project import Project
from trapline.steps import Context

READ = 48  # images of the sample that are read, to time it
READ_S = 10.0
CROP_BYTES_PER_PX = 0.4  # of JPEG crops at quality 92 without chroma subsampling (docs/log.md)


@dataclass(frozen=True)
class Estimate:
    """What fetching would take.

    Args:
        images: Images of remote datasets; `here` of them are fetched already.
        asked: Of the rest, how many were asked for their size; `missing` of these are not there.
        bytes: Of all that is not here, from the mean of those asked.
        seconds: To fetch it at the rate measured; None where nothing could be read.
        crop_bytes: Of all crops.
        free, whole: Bytes of the project's disk.
    """

    images: int
    here: int
    asked: int
    missing: int
    bytes: int
    seconds: float | None
    crop_bytes: int
    free: int
    whole: int

    def lines(self) -> list[str]:
        """What a person is told."""
        if not self.images:
            return ["no dataset's images are remote: there is nothing to fetch"]
        left = self.images - self.here
        lines = [f"images: {self.images:,}, of which {self.here:,} are fetched already"]
        if self.asked:
            lines[0] += f"; {self.asked:,} of the rest were asked for their size"
            lines[0] += f", {self.missing:,} of these are missing" if self.missing else ""
        lines.append(f"to fetch: {left:,} images, about {say_size(self.bytes)}")
        if self.seconds is not None:
            lines.append(f"time: about {say_time(self.seconds)} at the rate of the sample; it may adapt to be faster")
        lines.append(f"disk, keeping all images: about {say_size(self.bytes + self.crop_bytes)} more (crops included)")
        lines.append(f"disk, crops only (streaming): about {say_size(self.crop_bytes)}")
        kept = int(downloads.KEPT_FREE * self.whole)
        lines.append(
            f"free: {say_size(self.free)} of {say_size(self.whole)}; fetch leaves {say_size(kept)} free by default"
        )
        if self.bytes > self.free - kept:
            lines.append(
                "keeping all images does not fit: keep crops only (trapline crop --stream), or free some space"
            )
        return lines


def estimate_fetch(project: Project, options: Mapping[str, object] | None = None, *, sample: int = 200) -> Estimate:
    """Ask a random sample of the images that are not here for their size, and time reading a few. Keeps nothing.

    Args:
        options: Fields of FetchConfig, for this call.
        sample: Images asked at most.

    Raises:
        InputError: There is no project, or a bad option; StoreRefused, StoreDown: as `trapline fetch`.
    """
    if sample < 1:
        raise InputError(f"--sample {sample}: at least one image has to be asked for its size.")
    project.run(until="ingest")
    cfg = FetchConfig.model_validate({**project.config.fetch.model_dump(), **(options or {})})
    context = Context(project.layout, project.config, project.records)
    stores = context.stores(cfg)
    images = project.table("images").filter(pl.col("dataset").is_in(list(stores)))
    wanted = addresses(images, stores, cfg.key)
    files = project.table("files") if project.layout.table("files").exists() else None
    if files is not None:
        wanted = wanted.join(files.drop_nulls("bytes"), on="image_id", how="anti", maintain_order="left")
    askable = wanted.filter(pl.col("failure").is_null())
    chosen = askable.sample(min(sample, askable.height), seed=0) if askable.height else askable
    opened = {place: objects.open_store(place, cfg) for place in chosen["place"].unique(maintain_order=True)}
    pairs = [(opened[place], key) for place, key in chosen.select("place", "key").iter_rows()]
    sizes = run(_sizes(pairs)) if pairs else []
    there = [pair for pair, size in zip(pairs, sizes, strict=True) if size is not None]
    found = [size for size in sizes if size is not None]
    mean = sum(found) / len(found) if found else 0.0
    left = round(askable.height * len(found) / max(len(sizes), 1))
    rate = run(_rate(there)) if there else None
    free, whole = downloads.free_space(project.layout.root)
    boxes = project.table("boxes").join(images, on="image_id", how="semi")
    return Estimate(
        images=images.height,
        here=images.height - wanted.height,
        asked=len(sizes),
        missing=len(sizes) - len(found),
        bytes=round(left * mean),
        seconds=left * mean / rate if rate else None,
        crop_bytes=crop_bytes(boxes, images, project.config.crop),
        free=free,
        whole=whole,
    )


async def _sizes(pairs: list[tuple[objects.Store, str]]) -> list[int | None]:
    async def one(store: objects.Store, key: str) -> int | None:
        try:
            return await store.head(key)
        except objects.ObjectFailure:
            return None

    return await asyncio.gather(*(one(store, key) for store, key in pairs))


async def _rate(pairs: list[tuple[objects.Store, str]]) -> float | None:
    """Bytes per second of reading some of the sample, at most READ_S long; the slowest fifth is not waited for."""
    begin, came = time.monotonic(), []

    async def one(store: objects.Store, key: str) -> None:
        try:
            size = len((await store.get(key, budget_s=READ_S)).data)
        except objects.ObjectFailure:
            return
        came.append((time.monotonic() - begin, size))

    chosen = random.Random(0).sample(pairs, min(READ, len(pairs)))
    tasks = [asyncio.ensure_future(one(store, key)) for store, key in chosen]
    await asyncio.wait(tasks, timeout=READ_S)
    for task in tasks:
        task.cancel()
    for failed in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(failed, TraplineError):
            raise failed
    counted = came[: max(1, round(0.8 * len(came)))]
    return sum(size for _, size in counted) / counted[-1][0] if counted else None


def crop_bytes(boxes: pl.DataFrame, images: pl.DataFrame, cfg: CropConfig) -> int:
    """About how many bytes the crops of these boxes take: square ones of the box's longer side, reduced to
    `max_size`; of that size where the box is not known in pixels."""
    sized = boxes.join(images.select("image_id", "width_px", "height_px"), on="image_id", how="left")
    wide = pl.when(pl.col("unit") == "px").then(1.0).otherwise(pl.col("width_px"))
    high = pl.when(pl.col("unit") == "px").then(1.0).otherwise(pl.col("height_px"))
    largest = float(cfg.max_size) if cfg.max_size else float("inf")
    side = pl.max_horizontal(pl.col("box_w") * wide, pl.col("box_h") * high).fill_null(cfg.max_size or 512)
    total = sized.select((side.clip(0, largest) ** 2).sum()).item() or 0.0
    return round(CROP_BYTES_PER_PX * total)
