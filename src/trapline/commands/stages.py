"""The commands of single stages; their options are the stage's settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trapline.commands.options import (
    EngineOptions,
    Flag,
    Flat,
    MaxFailures,
    ProjectFolder,
    Save,
    TrainingOptions,
    Where,
    given,
    only_with,
    open_project,
    show_report,
)
from trapline.core import config
from trapline.core.errors import InputError, TooManyFailures
from trapline.core.new_images import NewImagesConfig
from trapline.io.console import ConsoleLog
from trapline.io.runs import options_of
from trapline.project import Project

To = Literal["md", "csv", "tidy", "parquet", "camtrap-dp", "cct"]


def _make(
    stage: str,
    options: Mapping[str, object],
    project: Path,
    save: bool,
    max_failures: int | None,
    earlier_options: Mapping[str, Mapping[str, object]] | None = None,
    where: EngineOptions | None = None,
) -> None:
    """Run one stage with options, after the stale ones before it."""
    opened = open_project(project, where)
    if save and options:
        opened.save(stage, options)
        options = {}
    opened.make(stage, options, max_failures=max_failures, earlier_options=earlier_options)
    if stage == "evaluate":
        show_report(opened)
        if (card := _card_of(opened)) is not None:
            opened.log.note(f"model card: {card}")


def _card_of(project: Project) -> Path | None:
    """The model card of the evaluation that is up to date, if one was asked for."""
    record = project.records.read("evaluate")
    if record is None or not record.config.get("card"):
        return None
    return (project.layout.root / str(record.facts["report"])).with_name("model_card.md")


def ingest(
    *,
    cfg: Annotated[config.IngestConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
) -> None:
    """Read annotation files into tables: images, locations, boxes, labels."""
    _make("ingest", given(cfg), project, save, None)


def fetch(
    *,
    cfg: Annotated[config.FetchConfig | None, Flat] = None,
    retry_failed: Annotated[
        bool, Parameter(negative=(), help="Try again the images that failed, and only those.")
    ] = False,
    where: Where = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Bring every image onto this disk: find it in a folder, or fetch it from S3, GCS, Azure or HTTP."""
    if retry_failed:
        opened = Project(project, ConsoleLog())
        opened.log.note(f"{opened.retry_failed():,} images that failed are tried again")
    _make("fetch", given(cfg), project, save, max_failures, where=where)


def crop(
    *,
    cfg: Annotated[config.CropConfig | None, Flat] = None,
    stream: Annotated[bool, Flag] = False,
    check: Annotated[bool, Flag] = False,
    detections: Path | None = None,
    images: Path | None = None,
    out: Path | None = None,
    threshold: float | None = None,
    categories: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    where: Where = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Cut every box out of its image.

    In a project; or without one, from a detector's results: trapline crop --detections md.json --images DIR --out DIR.

    Args:
        stream: Read remote images from their store, one by one, and keep none on disk.
        check: First read every stored crop; the damaged ones are made again, and failed downloads tried again.
        detections: A MegaDetector results file, for crops without a project.
        images: With detections: the folder that its file names are relative to.
        out: With detections: the folder of the crops.
        threshold: With detections: least confidence. Default: the detector's typical one, else 0.2.
        categories: With detections: only boxes of these categories, by name.
    """
    alone = {"--images": images, "--out": out, "--threshold": threshold, "--categories": categories}
    if detections is not None:
        if images is None or out is None:
            raise InputError("--detections needs --images DIR (what its file names are relative to) and --out DIR.")
        from trapline.apps.crop_detections import crop_detections

        crop_detections(
            detections, images, out, cfg or config.CropConfig(), threshold=threshold, categories=categories or (),
            check=check, max_failures=max_failures or 0, log=ConsoleLog(),
        )  # fmt: skip
        return
    only_with("--detections (crops without a project)", alone)
    opened = Project(project, ConsoleLog())
    if check:
        opened.check_crops()
    if stream and save:
        opened.save("fetch", {"stream": True})
    earlier = {"fetch": {"stream": True}} if stream else None
    _make("crop", given(cfg), project, save, max_failures, earlier, where=where)


def dataset(
    *,
    cfg: Annotated[config.DatasetConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Decide which crops teach which label."""
    _make("dataset", given(cfg), project, save, max_failures)


def split(
    *,
    cfg: Annotated[config.SplitConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
    plot: Annotated[Path | None, Parameter(help="Draw each label's share per split to this file (.svg, .png).")] = None,
) -> None:
    """Assign every camera to train, val or test."""
    _make("split", given(cfg), project, save, max_failures)
    if plot is not None:
        from trapline.apps.split_plot import plot as draw

        opened = Project(project, ConsoleLog())
        marked = draw(opened, plot)
        opened.log.note(f"wrote {plot}; furthest from what was wished: {', '.join(marked)}")


def embed(
    *,
    cfg: Annotated[config.EmbedConfig | None, Flat] = None,
    where: Where = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Compute features of every crop with a frozen model."""
    _make("embed", given(cfg), project, save, max_failures, where=where)


def train(
    *,
    cfg: Annotated[config.TrainConfig | None, Flat] = None,
    from_params: Path | None = None,
    advise: Annotated[bool, Flag] = False,
    where: Annotated[TrainingOptions | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Train a classifier; an interrupted training with the same settings continues.

    Args:
        from_params: The params.json of a run, of this project or another: train with its options (what is given here
            comes before them).
        advise: Train nothing: say what to choose for the data and the machine at hand, and what it costs here.
    """
    options = (options_of(from_params) if from_params is not None else {}) | given(cfg)
    if advise:
        from trapline.apps.advise import advise_training

        opened = Project(project, ConsoleLog())
        for line in advise_training(opened, options).lines():
            opened.log.note(line)
        return
    _make("train", options, project, save, max_failures, where=where)


def predict(
    *,
    cfg: Annotated[config.PredictConfig | None, Flat] = None,
    new: Annotated[NewImagesConfig | None, Flat] = None,
    images: str | None = None,
    detections: Path | None = None,
    crops: Path | None = None,
    out: Annotated[list[Path] | None, Parameter(name=["--out", "-o"], consume_multiple=True, negative=())] = None,
    to: Annotated[list[To] | None, Parameter(consume_multiple=True, negative=())] = None,
    label_mapping: Path | None = None,
    images_table: Path | None = None,
    locations: Path | None = None,
    utc_offset: str | None = None,
    decide: Path | None = None,
    classifier: Path | None = None,
    label_index: Path | None = None,
    image_size: int | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    probabilities: Annotated[bool, Flag] = False,
    where: Where = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Score a project's crops with a run's best checkpoint; or new images; or with another classifier.

    Of new images: trapline predict --run RUN --images DIR --detections md.json --out OUT.json

    Of another classifier: trapline predict --classifier model.pt --label-index label_index.json --out outputs.csv.gz

    Args:
        images: New images: their folder, or a URL (s3://, gs://, az://, https://) that their keys are below. RUN is
            then a run of the project, a run's folder, or a checkpoint's file.
        detections: With images: a detector's results (MegaDetector JSON), whose boxes are classified. Default: each
            image whole, as one box.
        crops: A folder of crops instead of images: each picture is a crop.
        out: Files to write, in any number: OUT.json (MegaDetector results, as Timelapse reads them), .csv and .csv.gz
            (path and a column per label), .parquet, a Camtrap DP folder. Without images: of the project's own.
        to: The format of each output. Default: by its ending.
        label_mapping: JSON of target -> labels, whose probabilities are summed in what is written.
        images_table: With images: CSV of path and any of location, datetime, sequence.
        locations: For camtrap-dp: CSV of dataset, location, latitude, longitude.
        utc_offset: For camtrap-dp: the zone of time stamps, such as -08:00.
        decide: With images: a folder for answers, counts and a list to look at, as `trapline decide` makes them.
        classifier: A TorchScript or ONNX file: score the project's crops with it, or those of --crops.
        label_index: With classifier: its labels in the order of its outputs: label_index.json, or one per line.
        image_size: With classifier: the side of its input in pixels. Default: 224.
        mean: With classifier: of each channel, for pixels in 0..1. Default: ImageNet's.
        std: With classifier: of each channel. Default: ImageNet's.
        probabilities: With classifier: it gives probabilities, not logits.
    """
    beside = {"--label-index": label_index, "--image-size": image_size, "--mean": mean, "--std": std,
              "--probabilities": probabilities or None}  # fmt: skip
    with_out = {"--to": to, "--label-mapping": label_mapping, "--locations": locations, "--utc-offset": utc_offset}
    with_images = {"--detections": detections, "--images-table": images_table, "--decide": decide}
    with_images |= {f"--{name.replace('_', '-')}": value for name, value in given(new).items()}
    if classifier is not None:
        only_with("--images (new images)", {"--images": images, **with_images, **with_out})
        _predict_other(classifier, label_index, out, cfg, crops, image_size, mean, std, probabilities, project,
                       max_failures)  # fmt: skip
        return
    only_with("--classifier (a model that trapline did not train)", beside)
    if images is None and crops is None:
        only_with("--images (new images)", with_images)
        if not out:
            only_with("--out", with_out)
        _make("predict", given(cfg), project, save, max_failures, where=where)
        if out:
            from trapline.commands.predicting import export

            export(out, to=to or [], label_mapping=label_mapping, locations=locations, utc_offset=utc_offset,
                   project=project)  # fmt: skip
        return
    from trapline.commands.predicting import predict_new

    predict_new(
        images, crops, out or [], cfg or config.PredictConfig(), new or NewImagesConfig(), detections=detections,
        to=to or [], label_mapping=label_mapping, images_table=images_table, locations=locations,
        utc_offset=utc_offset, decide=decide, where=where, project=project, max_failures=max_failures or 0,
    )  # fmt: skip


def _predict_other(
    classifier: Path,
    label_index: Path | None,
    out: list[Path] | None,
    cfg: config.PredictConfig | None,
    crops: Path | None,
    image_size: int | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    probabilities: bool,
    project: Path,
    max_failures: int | None,
) -> None:
    """Score crops with a classifier that trapline did not train."""
    if label_index is None or not out:
        raise InputError(
            "--classifier needs --label-index FILE (its labels, in the order of its outputs) and --out FILE."
        )
    if len(out) > 1:
        raise InputError("--classifier writes one file: give one --out.")
    from trapline.apps.predict_other import predict_other

    log = ConsoleLog()
    stored, crop_ids = crops, None
    if stored is None:
        opened = Project(project, log)
        stored, crop_ids = opened.storage.crops, opened.table("examples")["crop_id"]
    failed = predict_other(
        classifier, label_index, out[0], cfg or config.PredictConfig(), crops_dir=stored, crop_ids=crop_ids,
        image_size=image_size or 224, mean=mean, std=std, probabilities=probabilities, log=log,
    )  # fmt: skip
    log.note(f"wrote {out[0]}; next: trapline evaluate --outputs {out[0]} --out FOLDER")
    if failed > (max_failures or 0):
        raise TooManyFailures(f"done, but {failed:,} crops could not be read. Allow them: --max-failures {failed}.")


def evaluate(
    *,
    cfg: Annotated[config.EvaluateConfig | None, Flat] = None,
    outputs: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=())] = None,
    examples: Path | None = None,
    target_mapping: Path | None = None,
    crops: Path | None = None,
    name: str | None = None,
    out: Path | None = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Say how good the classifier is, and where: metrics, the field's files, report.html.

    Of any other tool: trapline evaluate --outputs outputs.csv --examples examples.csv --out FOLDER

    Args:
        outputs: Scores of another tool: CSV of path and a column of probabilities per label, or of path, prediction
            and confidence.
        examples: With outputs: a table of path, label, location (CSV or Parquet). Default: the project's examples.
        target_mapping: With outputs: JSON of target -> labels of the tool, whose probabilities are summed; its other
            labels become "other".
        crops: With outputs and examples: the folder of the crops, for the report's pictures.
        name: With outputs: what the report calls the classifier.
        out: With outputs: the folder of the report and the tables.
    """
    if not outputs:
        alone = {"--examples": examples, "--target-mapping": target_mapping, "--crops": crops, "--name": name,
                 "--out": out}  # fmt: skip
        only_with("--outputs (scores of another tool)", alone)
        _make("evaluate", given(cfg), project, save, max_failures)
        return
    if out is None:
        raise InputError("--outputs needs --out FOLDER, where the report and the tables go.")
    from trapline.apps.evaluate_scores import evaluate_scores
    from trapline.formats import example_csv

    log = ConsoleLog()
    if examples is None:
        opened = Project(project, log)
        table, splits, stored = opened.table("examples"), opened.table("splits"), crops or opened.storage.crops
        cfg = opened.config.evaluate.model_copy(update=given(cfg))
    else:
        stored = crops
        table, splits, notes = example_csv.read(examples)
        for note in notes:
            log.warn(note)
    evaluate_scores(
        outputs, table, splits, out, cfg or config.EvaluateConfig(), mapping=target_mapping, crops_dir=stored,
        name=name or "", log=log,
    )  # fmt: skip
    log.note(f"report: {out / 'report.html'}")
    if cfg is not None and cfg.card:
        log.note(f"model card: {out / 'model_card.md'}")
