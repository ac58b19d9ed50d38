"""Places -> regions: the H3 cells that hold their coordinates."""

import polars as pl

from trapline.core.errors import InputError


def cells(frame: pl.DataFrame, locations: pl.DataFrame | None, resolution: int) -> pl.Series:
    """The H3 cell of every row's location, as H3 writes it; null where a row has no location.

    Args:
        frame: dataset, location_id.
        locations: LOCATIONS rows.
        resolution: 0 (cells 1,100 km wide) to 15.

    Raises:
        InputError: Locations of the frame have no coordinates.

    Source: Uber's H3, https://h3geo.org: hexagons of nearly equal area.
    """
    import h3  # compiled; only regions need it

    used = frame.select("dataset", "location_id").drop_nulls().unique().sort(pl.all())
    known = locations.select("dataset", "location_id", "latitude", "longitude") if locations is not None else None
    placed = (
        used.with_columns(latitude=None, longitude=None)
        if known is None
        else used.join(known, on=["dataset", "location_id"], how="left", maintain_order="left")
    )
    bare = placed.filter(pl.col("latitude").is_null() | pl.col("longitude").is_null())
    if bare.height:
        raise InputError(
            f"{bare.height} of {placed.height} locations have no coordinates (first: {bare['location_id'][0]}), and "
            "group_by region needs them all. Put them into locations.csv in the project (dataset,location,latitude,"
            "longitude), or use --group-by camera."
        )
    names = [h3.latlng_to_cell(lat, lon, resolution) for lat, lon in placed.select("latitude", "longitude").iter_rows()]
    cell = placed.select("dataset", "location_id", cell=pl.Series(names, dtype=pl.String))
    return frame.select("dataset", "location_id").join(
        cell, on=["dataset", "location_id"], how="left", maintain_order="left"
    )["cell"]
