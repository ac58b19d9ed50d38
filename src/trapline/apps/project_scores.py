"""A project's own images as a prediction to decide on: its boxes with calibrated scores, and images without a box."""

import polars as pl

from trapline.core import calibration, schemas
from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.formats import calibration_json
from trapline.io import tables
from trapline.learn.rows import as_arrays
from trapline.project import Project


def project_scores(project: Project, run: str, labels: list[str], log: Log) -> pl.DataFrame:
    """DETECTION_SCORES rows of every image of a project.

    A box's place is given only where its source says that it follows the displayed frame; else the file's header says.

    Args:
        run: The name of a run that `trapline predict` scored the project's crops with.
        labels: In the order of the run's scores.

    Raises:
        InputError: The run has no predictions, or they are of other labels.
    """
    folder = project.layout.run(run)
    if not (folder / "predictions.parquet").exists():
        raise InputError(f"run {run} has not scored this project's crops yet: trapline predict --run {run}")
    scored = tables.read(folder / "predictions.parquet")
    kind = scored.schema["scores"]
    if not isinstance(kind, pl.Array) or kind.size != len(labels):
        raise InputError(f"the predictions of run {run} are not of its {len(labels)} labels. Predict again.")
    known = scored.filter(pl.col("scores").is_not_null())
    if known.height and (folder / "calibration.json").exists():
        found = calibration_json.read(folder / "calibration.json", labels)
        known = known.with_columns(scores=as_arrays(calibration.apply(found, known["scores"].to_numpy()), len(labels)))
    crops = project.table("crops").select("crop_id", "box_id", "image_id", crop_failure="failure")
    boxes = project.table("boxes").drop("image_id")
    rows = crops.join(known.select("crop_id", "scores"), on="crop_id", how="left")
    rows = rows.join(scored.select("crop_id", "failure"), on="crop_id", how="left")
    rows = rows.join(boxes, on="box_id", how="left", maintain_order="left")
    images = project.table("images")
    frame = images.join(rows, on="image_id", how="left", maintain_order="left_right")
    frame = frame.filter(pl.col("box_id").is_null() | pl.col("scores").is_not_null() | _failure().is_not_null())
    displayed = pl.col("frame") == "displayed"
    scale = {
        side: pl.when(pl.col("unit") == "px").then(pl.col(size)).otherwise(1)
        for side, size in zip(("x", "y", "w", "h"), ("width_px", "height_px") * 2, strict=True)
    }
    made = frame.select(
        file=pl.format("{}/{}", "dataset", "file_name"),
        detection=pl.when(pl.col("box_id").is_not_null()).then(pl.int_range(pl.len()).over("image_id")),
        image_id="image_id",
        location_id="location_id",
        sequence_id="sequence_id",
        captured_at="captured_at",
        **{f"box_{side}": pl.when(displayed).then(pl.col(f"box_{side}") / by) for side, by in scale.items()},
        conf="conf",
        scores="scores",
        failure=_failure(),
    )
    unscored = crops.height - made["detection"].count()
    log.account(
        "crops", crops.height, "boxes to decide on", made["detection"].count(), {"that are no examples": unscored}
    )
    types = [pl.col(name).cast(kind) for name, kind in schemas.DETECTION_SCORES.columns.items() if name != "scores"]
    return schemas.DETECTION_SCORES.check(made.with_columns(types))


def _failure() -> pl.Expr:
    return pl.coalesce("crop_failure", "failure")
