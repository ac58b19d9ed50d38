"""Several annotation files of the same images -> one row per image, and which file speaks for it.

Images are the same where they share an id or a path. The newest file that lists an image says everything of it; what
that file is silent of (a size, a place) is taken from the next newest. A detector's file never replaces what people
said: of those the newest counts too, beside the newest of people's files.
"""

import numpy as np
import polars as pl

from trapline.core.keys import all_differ
from trapline.core.log import Log
from trapline.core.paths import unsafe_reasons

LEFT_OUT, SUPERSEDED, NOWHERE = "of an image left out", "of an image listed in a newer export", "pointing to no image"
AGAIN, TWICE, SAME_NAME = (
    "listed again (the newest export wins)",
    "with an id used before in the same export",
    "with the same file name",
)
_OWN = ("source_id", "file_name", "dataset", "rank", "detections", "image_id")  # what is never taken from older files

SHOWN = 120  # characters of a hostile file name in a message


def merge(listed: pl.DataFrame, objects: pl.DataFrame, log: Log) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Merge what files list; says what was left out and why.

    Args:
        listed: Images of all files: formats' IMAGE_COLUMNS with dataset, rank (0: the newest file) and detections.
        objects: OBJECT_COLUMNS with the same three.

    Returns:
        images: One row per image, with image_id (`<dataset>/<source_id>`).
        objects: All of them, in order, the newest file first, with image_id and `left_out`: null, or why not.
    """
    reasons = unsafe_reasons(listed["file_name"])
    named = listed.with_columns(unsafe=reasons, image_id=pl.concat_str("dataset", "source_id", separator="/"))
    safe = named.filter(pl.col("unsafe").is_null()).drop("unsafe")
    if safe["rank"].n_unique() > 1:
        safe = safe.sort("detections", "rank", maintain_order=True)
    first = _first_of_same(safe)
    if first is None:
        images, aliases = safe, safe.select("image_id", "detections", alias="image_id", newest="rank")
        again = {}
    else:
        images, aliases, again = _merge_same(safe.with_columns(first=first))
    unsafe = named.drop_nulls("unsafe").group_by("unsafe").agg(pl.len(), pl.col("file_name").first()).sort("unsafe")
    counts = {reason: n for reason, n, _ in unsafe.iter_rows()}
    log.account("images listed", listed.height, "images", images.height, {**again, **counts})
    for reason, n, name in unsafe.iter_rows():
        first = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
        log.warn(f"{n} images left out: {reason} (first: {first!r}). Rename them in the export.")
    return images, _placed(objects, aliases, named.filter(pl.col("unsafe").is_not_null()), log)


def _first_of_same(safe: pl.DataFrame) -> pl.Series | None:
    """The number of the first row of the same image, for every row; None where all rows are of different images.

    Rows are the same image through an id, a path, or a chain of both (an old and a new export name one image by other
    paths, and a detector's file knows only one of these).
    """
    keys = (["image_id"], ["dataset", "file_name"])
    if all_differ(safe["image_id"]) and all_differ(safe.select(keys[1])):
        return None
    from scipy.sparse import coo_array  # a second of loading that one export alone never needs
    from scipy.sparse.csgraph import connected_components

    numbered = safe.select("image_id", "dataset", "file_name", number=pl.int_range(pl.len()))
    edges = pl.concat(numbered.select("number", other=pl.col("number").first().over(key)) for key in keys)
    ends = (edges["number"].to_numpy(), edges["other"].to_numpy())
    graph = coo_array((np.ones(edges.height, dtype=bool), ends), shape=(safe.height, safe.height))
    _, group = connected_components(graph, directed=False)
    of_group = pl.DataFrame({"group": group, "number": numbered["number"]})
    return of_group.select(first=pl.col("number").min().over("group"))["first"]


def _merge_same(safe: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """(images, alias -> image_id and the newest rank per kind of file, counts of rows left out by reason)."""
    safe = safe.with_row_index("number").with_columns(pl.col("number").cast(pl.Int64))
    is_first = pl.col("number") == pl.col("first")
    several = safe.filter(pl.len().over("first") > 1)
    told = [name for name in safe.columns if name not in (*_OWN, "number", "first")]
    filled = several.group_by("first").agg(pl.col(told).drop_nulls().first())
    heads = safe.filter(is_first).select("first", head_id="image_id", head_rank="rank")
    images = (
        safe.filter(is_first)
        .join(filled, on="first", how="left", maintain_order="left", suffix="_older")
        .with_columns(pl.coalesce(name, f"{name}_older").alias(name) for name in told)
        .select(name for name in safe.columns if name not in ("number", "first"))
    )
    rows = safe.join(heads, on="first", how="left", maintain_order="left")
    aliases = rows.select(
        "detections",
        alias="image_id",
        image_id="head_id",
        newest=pl.col("rank").min().over("first", "detections"),
    ).unique()
    same_id = pl.col("image_id") == pl.col("head_id")
    why = (
        pl.when(same_id & (pl.col("rank") == pl.col("head_rank")))
        .then(pl.lit(TWICE))
        .when(same_id)
        .then(pl.lit(AGAIN))
        .otherwise(pl.lit(SAME_NAME))
    )
    again = rows.filter(~is_first).group_by(why=why).len().sort("why")
    return images, aliases, dict(again.iter_rows())


def _placed(objects: pl.DataFrame, aliases: pl.DataFrame, unsafe: pl.DataFrame, log: Log) -> pl.DataFrame:
    """Objects with the id of their image and, where it is not theirs to describe, why."""
    kinds = pl.concat([objects["detections"], aliases["detections"]]).n_unique()
    keys, rest = (["alias", "detections"], aliases) if kinds > 1 else (["alias"], aliases.drop("detections"))
    placed = objects.with_columns(alias=pl.concat_str("dataset", "image", separator="/")).join(
        rest, on=keys, how="left", maintain_order="left"
    )
    if placed["newest"].null_count():
        known = pl.concat([aliases.select("alias"), unsafe.select(alias="image_id")]).unique()
        known = known.with_columns(known=True)
        placed = placed.join(known, on="alias", how="left", maintain_order="left")
    else:
        placed = placed.with_columns(known=pl.lit(True))
    why = (
        pl.when(pl.col("rank") == pl.col("newest"))
        .then(None)
        .when(pl.col("newest").is_not_null())
        .then(pl.lit(SUPERSEDED))
        .when("known")
        .then(pl.lit(LEFT_OUT))
        .otherwise(pl.lit(NOWHERE))
    )
    placed = placed.with_columns(left_out=why).drop("alias", "newest", "known")
    if placed["rank"].n_unique() == 1:
        return placed
    placed = placed.sort("detections", "rank", maintain_order=True)
    _tell_changes(placed, log)
    return placed


def _tell_changes(placed: pl.DataFrame, log: Log) -> None:
    """Say what the newest exports make of the annotations of older ones, by annotation id."""
    key, content = ["dataset", "source_id"], ["source_label", "box_x", "box_y", "box_w", "box_h"]
    named = placed.filter(pl.col("source_id").is_not_null(), ~pl.col("detections"))
    older = named.filter(pl.col("left_out") == SUPERSEDED).unique(key, keep="first", maintain_order=True)
    if not older.height:
        return
    newest = named.filter(pl.col("left_out").is_null()).unique(key).select(*key, *content, still=pl.lit(True))
    pairs = older.join(newest, on=key, how="left", suffix="_now")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_now")) for name in content)
    gone = pairs["still"].null_count()
    changed = pairs.filter(pl.col("still") & differs).height
    log.note(
        f"{older.height} annotations of older exports: in the newest {older.height - gone - changed} stand unchanged, "
        f"{changed} with another label or box, {gone} are gone."
    )
