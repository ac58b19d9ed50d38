"""corrections.csv: a person's decisions on boxes; appended, never rewritten; the last row for a box wins.

A row `undo` takes back the last decision for its box that still stands: the one before it stands again.
"""

from pathlib import Path

import polars as pl

from trapline.core.errors import InputError

COLUMNS = ("image_id", "box_id", "action", "from", "to", "who", "when")
DECISION = ("box_id", "action", "to", "who")
UNDO = "undo"
ACTIONS = ("accept", "relabel", "exclude", "unsure", UNDO)


def read(path: Path) -> pl.DataFrame:
    """The last decision for every box: box_id, action, to, who. Empty where there is no such file.

    Raises:
        InputError: Columns are missing, an action is unknown, or a relabel names no label; lists every such line.
    """
    if not path.exists():
        return pl.DataFrame(schema=dict.fromkeys(DECISION, pl.String))
    try:
        table = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=dict.fromkeys(DECISION, pl.String))
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} is not a CSV table: {str(error).splitlines()[0]}") from None
    missing = [name for name in ("box_id", "action", "to") if name not in table.columns]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}; its header is {','.join(COLUMNS)}.")
    lines = table.with_row_index("line", offset=2)
    problems = [
        f"line {row['line']}: action {row['action']!r} is none of {', '.join(ACTIONS)}"
        for row in lines.filter(~pl.col("action").is_in(ACTIONS) | pl.col("action").is_null()).iter_rows(named=True)
    ]
    blank = lines.filter((pl.col("action") == "relabel") & (pl.col("to").fill_null("").str.strip_chars() == ""))
    problems += [f"line {line}: relabel without a label in `to`" for line in blank["line"]]
    if problems:
        raise InputError(f"{path} holds {len(problems)} lines that cannot be applied:", problems)
    who = [] if "who" in table.columns else [pl.lit(None, pl.String).alias("who")]
    return _standing(table.with_columns(who).select(DECISION)).unique("box_id", keep="last", maintain_order=True)


def _standing(rows: pl.DataFrame) -> pl.DataFrame:
    """The decisions that were not taken back."""
    taken_back = rows.filter(action=UNDO)
    if not taken_back.height:
        return rows
    rows = rows.with_row_index("row")
    gone: list[int] = []
    standing: dict[str | None, list[int]] = {}
    touched = rows.join(taken_back.select("box_id").unique(), on="box_id", how="semi", maintain_order="left")
    for row, box, action in touched.select("row", "box_id", "action").iter_rows():
        before = standing.setdefault(box, [])
        if action != UNDO:
            before.append(row)
            continue
        gone.append(row)
        if before:
            gone.append(before.pop())
    return rows.filter(~pl.col("row").is_in(gone)).drop("row")
