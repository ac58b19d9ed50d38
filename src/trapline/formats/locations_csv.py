"""locations.csv: where places are. Columns dataset, location, latitude, longitude (degrees, WGS 84)."""

from pathlib import Path

import polars as pl

from trapline.core.errors import InputError

COLUMNS = ("dataset", "location", "latitude", "longitude")
SCHEMA = {"dataset": pl.String, "location_id": pl.String, "latitude": pl.Float64, "longitude": pl.Float64}


def read(path: Path) -> pl.DataFrame:
    """dataset, location_id, latitude, longitude. Empty where there is no such file.

    Raises:
        InputError: Columns are missing, a coordinate is no number or out of range, or a place comes twice; lists all.
    """
    if not path.exists():
        return pl.DataFrame(schema=SCHEMA)
    try:
        table = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} is not a CSV table: {str(error).splitlines()[0]}.") from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; its header is {','.join(COLUMNS)}.")
    rows = table.select(
        "dataset",
        location_id="location",
        latitude=pl.col("latitude").str.strip_chars().cast(pl.Float64, strict=False),
        longitude=pl.col("longitude").str.strip_chars().cast(pl.Float64, strict=False),
    ).with_row_index("line", offset=2)
    problems = []
    for name, limit in (("latitude", 90), ("longitude", 180)):
        bad = rows.filter(~pl.col(name).is_between(-limit, limit).fill_null(False))
        problems += [f"line {line}: {name} is not a number from -{limit} to {limit}" for line in bad["line"]]
    twice = rows.filter(~pl.struct("dataset", "location_id").is_first_distinct())
    problems += [f"line {line}: {place} is listed before" for line, place in twice.select("line", "location_id").rows()]
    if problems:
        raise InputError(f"{path} has {len(problems)} lines that cannot be used:", problems)
    return rows.drop("line")
