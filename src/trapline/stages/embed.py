"""embed: features of crops from a frozen, pretrained backbone, computed once."""

from functools import cached_property, partial
from pathlib import Path

import polars as pl
from torch import nn

from trapline.core.config import EmbedConfig
from trapline.core.log import Log
from trapline.core.schemas import EMBEDDINGS
from trapline.core.versions import VERSIONS
from trapline.engine.local import LOCAL
from trapline.engine.mapping import Engine, Work, map_rows
from trapline.io import places
from trapline.io.ledger import Parts
from trapline.io.places import Place
from trapline.learn import device as devices
from trapline.learn import models
from trapline.learn.infer import infer
from trapline.learn.rows import as_arrays, with_file_state

PART_ROWS = 512  # about ten seconds of the default model on two CPU cores


def embed(
    crops: pl.DataFrame, cfg: EmbedConfig, *, crops_dir: Path | Place, parts: Parts, log: Log, engine: Engine = LOCAL
) -> pl.DataFrame:
    """Features of every crop, as a pretrained model's classifier would see them.

    Args:
        crops: CROPS rows; those with a failure are left out.
        crops_dir: Where the crops lie: a folder (`crops_dir / crop_id`) or another place.

    Returns:
        EMBEDDINGS rows in the order of `crops`; `embedding` is null where the file could not be read.

    Raises:
        InputError: An unknown model, or its weights cannot be had.
    """
    made = crops.filter(pl.col("failure").is_null())
    table = map_rows(
        partial(_Embedding, cfg, places.of(crops_dir)),
        with_file_state(made.select("crop_id"), crops_dir),
        engine=engine,
        key="crop_id",
        config={"version": VERSIONS["embed"], "model": cfg.model},
        parts=parts,
        part_rows=PART_ROWS,
        log=log,
        what="crops embedded",
        gpu=cfg.device != "cpu",
    )
    unread = table["embedding"].null_count()
    left_out = {"failed as crops": crops.height - made.height, "could not be read": unread}
    log.account("crops", crops.height, "embeddings", table.height - unread, left_out)
    return EMBEDDINGS.check(table)


class _Embedding(Work):
    def __init__(self, cfg: EmbedConfig, crops: Place):
        self._cfg, self._crops = cfg, crops
        self._device = devices.resolve(cfg.device)

    @cached_property
    def _network(self) -> nn.Module:
        # The head is not used; two labels keep models happy that want one.
        return models.build(self._cfg.model, 2, pretrained=True).to(self._device)

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return EMBEDDINGS.empty().cast({"embedding": pl.Array(pl.Float32, 1)})
        paths = [self._crops.source(crop_id) for crop_id in rows["crop_id"]]
        transform = models.transform_of(self._network)
        found, _ = infer(
            self._network, transform, paths, "features", batch_size=self._cfg.batch_size, device=self._device
        )
        return self._rows(rows, as_arrays(found, models.n_features(self._network)))

    def failed(self, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        return self._rows(
            rows, pl.Series([None] * rows.height, dtype=pl.Array(pl.Float32, models.n_features(self._network)))
        )

    def _rows(self, rows: pl.DataFrame, embedding: pl.Series) -> pl.DataFrame:
        model = pl.repeat(self._cfg.model, rows.height, dtype=pl.String, eager=True)
        return pl.DataFrame({"crop_id": rows["crop_id"], "model": model, "embedding": embedding})
