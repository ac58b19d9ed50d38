"""embed: features of crops from a frozen, pretrained backbone, computed once."""

from functools import cache
from pathlib import Path

import polars as pl

from trapline.core.config import EmbedConfig
from trapline.core.log import Log
from trapline.core.schemas import EMBEDDINGS
from trapline.core.versions import VERSIONS
from trapline.engine.local import map_rows
from trapline.io import places
from trapline.io.ledger import Parts
from trapline.io.places import Place
from trapline.learn import device as devices
from trapline.learn import models
from trapline.learn.infer import infer
from trapline.learn.rows import as_arrays, with_file_state

PART_ROWS = 512  # about ten seconds of the default model on two CPU cores


def embed(crops: pl.DataFrame, cfg: EmbedConfig, *, crops_dir: Path | Place, parts: Parts, log: Log) -> pl.DataFrame:
    """Features of every crop, as a pretrained model's classifier would see them.

    Args:
        crops: CROPS rows; those with a failure are left out.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.

    Returns:
        EMBEDDINGS rows in the order of `crops`; `embedding` is null where the file could not be read.

    Raises:
        InputError: An unknown model, or its weights cannot be had.
    """
    device = devices.resolve(cfg.device)
    # The head is not used; two labels keep models happy that want one.
    network = cache(lambda: models.build(cfg.model, 2, pretrained=True).to(device))

    def features(rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return EMBEDDINGS.empty().cast({"embedding": pl.Array(pl.Float32, 1)})
        crops_at = places.of(crops_dir)
        paths = [crops_at.source(crop_id) for crop_id in rows["crop_id"]]
        transform = models.transform_of(network())
        found, _ = infer(network(), transform, paths, "features", batch_size=cfg.batch_size, device=device)
        return pl.DataFrame(
            {
                "crop_id": rows["crop_id"],
                "model": pl.repeat(cfg.model, rows.height, dtype=pl.String, eager=True),
                "embedding": as_arrays(found, models.n_features(network())),
            }
        )

    made = crops.filter(pl.col("failure").is_null())
    rows = with_file_state(made.select("crop_id"), crops_dir)
    config = {"version": VERSIONS["embed"], "model": cfg.model}
    table = map_rows(
        features, rows, key="crop_id", config=config, parts=parts, part_rows=PART_ROWS, log=log, what="crops embedded"
    )
    unread = table["embedding"].null_count()
    left_out = {"failed as crops": crops.height - made.height, "could not be read": unread}
    log.account("crops", crops.height, "embeddings", table.height - unread, left_out)
    return EMBEDDINGS.check(table)
