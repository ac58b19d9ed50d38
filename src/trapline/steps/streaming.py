"""Images that stay in their store: the fetch step notes where they are, the crop step reads them there."""

from typing import Any

import polars as pl

from trapline.core import schemas
from trapline.core.addresses import addresses
from trapline.core.config import FetchConfig
from trapline.io.ledger import fingerprint
from trapline.io.objects import Stores
from trapline.steps.step import Context


def left_in_store(images: pl.DataFrame, stores: dict[str, str], cfg: FetchConfig) -> pl.DataFrame:
    """FILES rows of the images that are streamed: no path; `checksum` stands for where the image is."""
    if not cfg.stream:
        return schemas.FILES.empty()
    found = addresses(images, stores, cfg.key)
    where = [fingerprint([place, key]) for place, key in found.select("place", "key").iter_rows()]
    rows = found.select("image_id", "failure").with_columns(checksum=pl.Series(where, dtype=pl.String))
    return pl.concat([schemas.FILES.empty(), rows], how="diagonal")


def source(context: Context) -> dict[str, Any]:
    """What the crop stage needs to read streamed images: `remote` and `read_remote`; nothing where none are."""
    record = context.records.read("fetch")
    cfg = FetchConfig.model_validate(record.config) if record else FetchConfig()
    if not cfg.stream:
        return {}
    remote = addresses(context.table("images"), context.stores(cfg), cfg.key)
    return {"remote": remote, "read_remote": Stores(cfg).read}
