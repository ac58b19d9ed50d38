"""Where each image of a remote dataset is: the store it is asked of, and its key there. Pure frames."""

from collections.abc import Mapping

import polars as pl

from trapline.core import urls

NO_KEY = "no key (the export gives none)"
FOREIGN = "address of a kind that cannot be fetched"
COLUMNS = {"image_id": pl.String, "place": pl.String, "key": pl.String, "failure": pl.String}


def addresses(images: pl.DataFrame, stores: Mapping[str, str], template: str | None) -> pl.DataFrame:
    """The place and key of every image of the datasets in `stores`.

    Args:
        images: IMAGES rows. Where `uri` is a whole URL, that is where the image is; else it is a key.
        stores: Dataset -> URL that its keys are below.
        template: FetchConfig.key.

    Returns:
        image_id, place (the URL to open), key (below it), failure (why there is none), in the order of `images`.
    """
    rows = []
    for row in images.select("image_id", "dataset", "file_name", "uri").iter_rows(named=True):
        if row["dataset"] in stores:
            rows.append((row["image_id"], *_address(row, stores[row["dataset"]], template)))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _address(row: Mapping[str, str | None], store: str, template: str | None) -> tuple[str | None, ...]:
    key = urls.object_key(template, row)
    if not key:
        return None, None, NO_KEY
    if urls.is_url(key):
        place, inner = urls.split_url(urls.without_secrets(key))
        return (place, inner, None) if inner else (None, None, NO_KEY)
    if "://" in key:
        return None, None, FOREIGN
    return store, key.lstrip("/"), None
