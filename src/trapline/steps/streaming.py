"""Images that stay in their store: the fetch step notes where they are, the crop step reads them there."""

import polars as pl

from trapline.core import schemas
from trapline.core.addresses import NEEDED, addresses
from trapline.core.config import FetchConfig
from trapline.io.ledger import fingerprint, row_texts
from trapline.steps.step import Context


def left_in_store(images: pl.DataFrame, stores: dict[str, str], cfg: FetchConfig) -> pl.DataFrame:
    """FILES rows of the images that are streamed: no path; `checksum` stands for where the image is."""
    if not cfg.stream:
        return schemas.FILES.empty()
    found = addresses(images, stores, cfg.key)
    where = row_texts(found, lambda row: fingerprint((row["place"], row["key"])))
    rows = found.select("image_id", "failure").with_columns(checksum=where)
    return pl.concat([schemas.FILES.empty(), rows], how="diagonal")


def settings(context: Context) -> FetchConfig | None:
    """What fetch left the images in their store with; None where it did not."""
    record = context.records.read("fetch")
    cfg = FetchConfig.model_validate(record.config) if record else FetchConfig()
    return cfg if cfg.stream else None


def remote(context: Context, cfg: FetchConfig) -> pl.DataFrame:
    """Where the crop stage finds them: `addresses`."""
    return addresses(context.table("images", NEEDED), context.stores(cfg), cfg.key)
