"""Where each image of a remote dataset is: the store it is asked of, and its key there. Pure frames."""

from collections.abc import Mapping

import polars as pl

from trapline.core import urls

NO_KEY = "no key (the export gives none)"
FOREIGN = "address of a kind that cannot be fetched"
NEEDED = ("image_id", "dataset", "file_name", "uri")  # of IMAGES, to find an image
ROWS = 100_000  # that are Python objects at a time
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
    some = images.select(NEEDED).filter(pl.col("dataset").is_in(list(stores)))
    found = [pl.DataFrame(schema=COLUMNS)]
    for piece in some.iter_slices(ROWS):
        rows = [
            (row["image_id"], *_address(row, stores[row["dataset"]], template)) for row in piece.iter_rows(named=True)
        ]
        found.append(pl.DataFrame(rows, schema=COLUMNS, orient="row"))
    return pl.concat(found)


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
