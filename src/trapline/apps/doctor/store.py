"""Object stores: is the profile there, and can a first image be read?"""

import asyncio

import polars as pl

from trapline.apps.doctor.finding import Finding
from trapline.core.addresses import addresses
from trapline.core.errors import StoreDown, StoreRefused
from trapline.io import objects
from trapline.io.connect import aws_profiles
from trapline.io.loop import run
from trapline.project import Project
from trapline.steps import Context

PATIENCE_S = 20.0


def profiles() -> Finding:
    """The AWS profiles of this user."""
    try:
        known = aws_profiles()
    except StoreRefused as error:
        return Finding("AWS profiles", "fault", str(error), "mend ~/.aws/config and ~/.aws/credentials")
    if known:
        return Finding("AWS profiles", "ok", ", ".join(known))
    remedy = "aws configure --profile animl  # to fetch from Animl's bucket; public buckets need none"
    return Finding("AWS profiles", "note", "none", remedy)


def stores(project: Project) -> list[Finding]:
    """Each store of a project: asked for its first image's size with the project's credentials."""
    context = Context(project.layout, project.config, project.records)
    cfg = project.config.fetch
    places = context.stores(cfg)
    if not places:
        return []
    if not project.layout.table("images").exists():
        return [
            Finding("store", "note", f"{place}: not asked, the export was not read yet", "trapline run --until ingest")
            for place in places.values()
        ]
    images = project.table("images").filter(pl.col("dataset").is_in(list(places)))
    wanted = addresses(images, places, cfg.key).filter(pl.col("failure").is_null()).unique("place", keep="first")
    return [_ask(place, key, project) for place, key in wanted.sort("place").select("place", "key").iter_rows()]


def _ask(place: str, key: str, project: Project) -> Finding:
    cfg = project.config.fetch
    who = "no credentials" if cfg.anonymous else "the environment's credentials"
    who = f"AWS profile {cfg.profile}" if cfg.profile else who
    try:
        size = run(asyncio.wait_for(_size(place, key, project), PATIENCE_S))
    except (StoreRefused, StoreDown) as error:
        return Finding("store", "fault", str(error), "trapline fetch --profile NAME --region REGION --save")
    except (objects.ObjectFailure, TimeoutError) as error:
        says = f"{place}: its first image cannot be read with {who}: {error or 'no answer'}"
        return Finding("store", "fault", says, "trapline estimate fetch  # asks for more of them")
    return Finding("store", "ok", f"{place}: readable with {who} (first image: {size / 1e6:.1f} MB)")


async def _size(place: str, key: str, project: Project) -> int:
    return await objects.open_store(place, project.config.fetch).head(key)
