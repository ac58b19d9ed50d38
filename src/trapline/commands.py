"""The commands: one function each, named and worded like the Python call it makes. Imported when a command runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.table import Table

from trapline.core import config
from trapline.core.errors import InputError, TooManyFailures, TraplineError
from trapline.io.console import ConsoleLog
from trapline.project import Project, StageStatus

Save = Annotated[bool, Parameter(negative=(), help="Write these options into trapline.yaml.")]
Flat = Parameter(name="*")
ProjectFolder = Annotated[Path, Parameter(name=["--project", "-p"], help="The project's folder.")]
MaxFailures = Annotated[
    int | None, Parameter(help="Images that may fail before the exit code is 3. Default: from trapline.yaml.")
]


def init(
    directory: Path,
    *,
    annotations: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    images: str | None = None,
    dataset: str | None = None,
    dataset_csv: Path | None = None,
    folders: str | None = None,
    ready_made: Annotated[bool, Parameter(negative=())] = False,
    from_old: Path | None = None,
) -> None:
    """Make a project from an export and a folder of images, or add a dataset to one.

    Args:
        directory: The project's folder; made if it does not exist.
        annotations: One or more files or folders of any format that trapline reads (docs/formats.md), copied into the
            project. Without any, the folders that images lie in name their labels.
        images: Folder that the export's file names are relative to (the images stay where they are), or the URL that
            their keys are below: s3://bucket/prefix, gs://, az://, https:// (fetched by `trapline fetch`).
        dataset: A name for these images. Default: the folder's name.
        dataset_csv: An old classification_ds.csv instead of exports; `images` is then the folder of its crops.
        folders: Without annotations: what the folders name, outermost first, such as location/label.
        ready_made: The pictures are crops already; they are taken whole.
        from_old: Instead of all that: the folder of a project of the old chain (with mdcache, images, crops and a
            BASE_LOGDIR below it). Goes on from the furthest step that is complete (docs/from-the-old-chain.md).
    """
    log = ConsoleLog()
    if from_old is not None:
        if annotations or images or dataset or dataset_csv or folders or ready_made:
            raise InputError("--from-old finds annotations, images and crops itself: give it alone.")
        from trapline.apps.from_old import from_old as move_in

        project = move_in(directory, from_old, log=log)
    else:
        from trapline.apps.init import init as make

        project = make(
            directory,
            annotations or (),
            images,
            dataset,
            dataset_csv=dataset_csv,
            folder_names=folders,
            ready_made=ready_made,
            log=log,
        )
    log.note(f"wrote {project.layout.config}")
    log.note(f"next: trapline run --project {directory}")


def run(
    *,
    until: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    retrain: Annotated[bool, Parameter(negative=())] = False,
    max_failures: MaxFailures = None,
    project: ProjectFolder = Path("."),
) -> None:
    """Bring the whole project up to date: ingest, fetch, crop, dataset, split, train, predict, evaluate.

    Args:
        until: Last stage to make.
        from_: First stage to look at; earlier ones are taken as they are.
        retrain: Train again where the run no longer matches its inputs.
    """
    opened = Project(project, ConsoleLog())
    try:
        opened.run(until, from_, retrain=retrain, max_failures=max_failures)
    finally:
        show_report(opened)


def show_report(project: Project) -> None:
    """Print where the report lies, if there is one that is up to date."""
    last = project.status()[-1]
    if last.stage == "evaluate" and last.state == "up to date" and last.record:
        project.log.note(f"report: {project.layout.root / str(last.record.facts['report'])}")


def status(*, project: ProjectFolder = Path(".")) -> None:
    """Say what is up to date and why not."""
    opened = Project(project, ConsoleLog())
    log = opened.log
    assert isinstance(log, ConsoleLog)
    found = opened.status()
    log.console.print(_status_table(found))
    for stage in found:
        for warning in stage.record.warnings if stage.record else ():
            log.console.print(f"  {stage.stage}: {warning}", markup=False)


def _status_table(stages: list[StageStatus]) -> Table:
    table = Table("stage", "state", "rows", "seconds", "made (UTC)", box=None, pad_edge=False)
    for stage in stages:
        state = stage.state + (f": {'; '.join(stage.reasons)}" if stage.reasons else "")
        if stage.made_with:
            state += f" (made with {', '.join(f'{name}={value}' for name, value in stage.made_with.items())})"
        record = stage.record
        rows = "\n".join(record.accounts) if record else ""
        seconds = f"{record.seconds:,.1f}" if record else ""
        made = record.made_at.replace("T", " ")[:16] if record else ""
        table.add_row(*(_plain(text) for text in (stage.stage, state, rows, seconds, made)))
    return table


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def doctor(
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print the findings as JSON.")] = False,
    project: ProjectFolder = Path("."),
) -> None:
    """Say what this machine can do, and what stands in the way; exit code 1 where something does."""
    from dataclasses import asdict

    import msgspec

    from trapline.apps.doctor import doctor as look

    found = look(project)
    faults = [finding for finding in found if finding.state == "fault"]
    log = ConsoleLog()
    if json:
        content = {"fit": not faults, "findings": [asdict(finding) for finding in found]}
        log.console.print(msgspec.json.format(msgspec.json.encode(content)).decode(), markup=False)
    else:
        for finding in found:
            log.console.print(f"{finding.state:6}{finding.check:14}{finding.says}", markup=False)
            if finding.remedy:
                log.console.print(f"{'':20}-> {finding.remedy}", markup=False)
    if faults:
        names = ", ".join(sorted({finding.check for finding in faults}))
        raise TraplineError(f"{len(faults)} of {len(found)} findings stand in the way: {names}.")


def labels(
    *,
    suggest: Annotated[Path | None, Parameter(help="Write a label map to start from to this file (YAML).")] = None,
    project: ProjectFolder = Path("."),
) -> None:
    """Show what becomes of every label, and why."""
    from trapline.apps import labels as app

    opened = Project(project, ConsoleLog())
    log = opened.log
    assert isinstance(log, ConsoleLog)
    found = app.labels(opened)
    table = Table(
        "label", "images", "boxes", "locations", "sequences", "share", "becomes", "why", box=None, pad_edge=False
    )
    for label, *counts, share, becomes, why in found.iter_rows():
        table.add_row(_plain(label), *(f"{n:,}" for n in counts), f"{share:.1%}", _plain(becomes or "-"), _plain(why))
    log.console.print(table)
    if suggest is not None:
        names = app.write_suggestion(opened, suggest)
        log.note(f"wrote {suggest} with {len(names)} labels; look at it, then:")
        log.note(f"trapline dataset --label-map-file {suggest.resolve()}")


def convert(
    *sources: Path,
    to: Literal["cct", "md", "queried-images", "csv", "camtrap-dp"],
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    images: Path | None = None,
    locations: Path | None = None,
    utc_offset: str | None = None,
    scientific_names: Path | None = None,
    metadata: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    cfg: Annotated[config.IngestConfig | None, Flat] = None,
) -> None:
    """Convert annotations of one format into another; several files of the same images are merged.

    Args:
        sources: Files or folders of any format that trapline reads (docs/formats.md), or one project's folder. A
            corrections.csv among them is applied.
        to: The format to write.
        out: The file to write; for camtrap-dp the folder.
        images: Folder of the full-size images, whose headers tell the sizes that annotations do not state.
        locations: locations.csv with coordinates (dataset,location,latitude,longitude).
        utc_offset: Zone of time stamps that do not state theirs, such as -08:00.
        scientific_names: CSV of label,scientific_name, for camtrap-dp.
        metadata: JSON with fields of camtrap-dp's datapackage.json (title, contributors, project, licenses).
        overwrite: Replace the output if it exists.
    """
    from trapline.apps.convert import convert as run_convert

    run_convert(
        sources,
        to,
        out,
        images=images,
        locations=locations,
        utc_offset=utc_offset,
        scientific_names=scientific_names,
        metadata=metadata,
        overwrite=overwrite,
        cfg=cfg,
        log=ConsoleLog(),
    )


def demo(directory: Path = Path("trapline-demo"), *, seed: int = 0) -> None:
    """Draw a camera-trap project (no download) and run the whole pipeline on it.

    Args:
        directory: Where; drawn again only where something is missing.
        seed: Fixes every picture.
    """
    from trapline.apps.demo.app import demo as make

    show_report(make(directory, seed=seed, log=ConsoleLog()))


def _make(
    stage: str,
    cfg: config.Section | None,
    project: Path,
    save: bool,
    max_failures: int | None,
    earlier_options: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Run one stage with options, after the stale ones before it."""
    opened = Project(project, ConsoleLog())
    options: dict[str, Any] = _given(cfg)
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
    _make("ingest", cfg, project, save, None)


def fetch(
    *,
    cfg: Annotated[config.FetchConfig | None, Flat] = None,
    retry_failed: Annotated[
        bool, Parameter(negative=(), help="Try again the images that failed, and only those.")
    ] = False,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Bring every image onto this disk: find it in a folder, or fetch it from S3, GCS, Azure or HTTP."""
    if retry_failed:
        opened = Project(project, ConsoleLog())
        opened.log.note(f"{opened.retry_failed():,} images that failed are tried again")
    _make("fetch", cfg, project, save, max_failures)


def estimate_fetch(
    *,
    cfg: Annotated[config.FetchConfig | None, Flat] = None,
    sample: int = 200,
    project: ProjectFolder = Path("."),
) -> None:
    """Say what fetching takes, before anything is fetched: images, bytes, time, disk.

    Args:
        sample: Images that are asked for their size; a few of them are read (and not kept) to time it.
    """
    from trapline.apps.estimate import estimate_fetch as run_estimate

    opened = Project(project, ConsoleLog())
    for line in run_estimate(opened, _given(cfg), sample=sample).lines():
        opened.log.note(line)


def estimate_train(
    *, cfg: Annotated[config.TrainConfig | None, Flat] = None, project: ProjectFolder = Path(".")
) -> None:
    """Say what a training takes, before it begins, from a trial of twenty steps: memory, disk, time per epoch."""
    from trapline.apps.estimate_train import estimate_train as run_estimate
    from trapline.apps.estimate_train import lines

    opened = Project(project, ConsoleLog())
    options = _given(cfg)
    found = run_estimate(opened, options)
    used = config.TrainConfig.model_validate({**opened.config.train.model_dump(), **options})
    for line in lines(found, used, opened.layout.runs):
        opened.log.note(line)


def _given(cfg: config.Section | None) -> dict[str, object]:
    """The options of a call, by name."""
    return {name: getattr(cfg, name) for name in cfg.model_fields_set} if cfg is not None else {}


Flag = Parameter(negative=())


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
    _only_with("--detections (crops without a project)", alone)
    opened = Project(project, ConsoleLog())
    if check:
        opened.check_crops()
    if stream and save:
        opened.save("fetch", {"stream": True})
    _make("crop", cfg, project, save, max_failures, {"fetch": {"stream": True}} if stream else None)


def dataset(
    *,
    cfg: Annotated[config.DatasetConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Decide which crops teach which label."""
    _make("dataset", cfg, project, save, max_failures)


def split(
    *,
    cfg: Annotated[config.SplitConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
    plot: Annotated[Path | None, Parameter(help="Draw each label's share per split to this file (.svg, .png).")] = None,
) -> None:
    """Assign every camera to train, val or test."""
    _make("split", cfg, project, save, max_failures)
    if plot is not None:
        from trapline.apps.split_plot import plot as draw

        opened = Project(project, ConsoleLog())
        marked = draw(opened, plot)
        opened.log.note(f"wrote {plot}; furthest from what was wished: {', '.join(marked)}")


def embed(
    *,
    cfg: Annotated[config.EmbedConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Compute features of every crop with a frozen model."""
    _make("embed", cfg, project, save, max_failures)


def train(
    *,
    cfg: Annotated[config.TrainConfig | None, Flat] = None,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Train a classifier; an interrupted training with the same settings continues."""
    _make("train", cfg, project, save, max_failures)


def predict(
    *,
    cfg: Annotated[config.PredictConfig | None, Flat] = None,
    classifier: Path | None = None,
    label_index: Path | None = None,
    crops: Path | None = None,
    out: Path | None = None,
    image_size: int | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    probabilities: Annotated[bool, Flag] = False,
    project: ProjectFolder = Path("."),
    save: Save = False,
    max_failures: MaxFailures = None,
) -> None:
    """Score every crop with a run's best checkpoint; or with a classifier that trapline did not train.

    Of another classifier: trapline predict --classifier model.pt --label-index label_index.json --out outputs.csv.gz

    Args:
        classifier: A TorchScript or ONNX file: score the project's crops with it, or those of --crops.
        label_index: With classifier: its labels in the order of its outputs: label_index.json, or one per line.
        crops: With classifier: a folder of crops, without a project.
        out: With classifier: the CSV to write, gzipped where it ends with .gz.
        image_size: With classifier: the side of its input in pixels. Default: 224.
        mean: With classifier: of each channel, for pixels in 0..1. Default: ImageNet's.
        std: With classifier: of each channel. Default: ImageNet's.
        probabilities: With classifier: it gives probabilities, not logits.
    """
    if classifier is None:
        alone = {"--label-index": label_index, "--crops": crops, "--out": out, "--image-size": image_size,
                 "--mean": mean, "--std": std, "--probabilities": probabilities or None}  # fmt: skip
        _only_with("--classifier (a model that trapline did not train)", alone)
        _make("predict", cfg, project, save, max_failures)
        return
    if label_index is None or out is None:
        raise InputError(
            "--classifier needs --label-index FILE (its labels, in the order of its outputs) and --out FILE."
        )
    from trapline.apps.predict_other import predict_other

    log = ConsoleLog()
    crop_ids = None
    if crops is None:
        opened = Project(project, log)
        crops, crop_ids = opened.layout.crops, opened.table("examples")["crop_id"]
    failed = predict_other(
        classifier, label_index, out, cfg or config.PredictConfig(), crops_dir=crops, crop_ids=crop_ids,
        image_size=image_size or 224, mean=mean, std=std, probabilities=probabilities, log=log,
    )  # fmt: skip
    log.note(f"wrote {out}; next: trapline evaluate --outputs {out} --out FOLDER")
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
        _only_with("--outputs (scores of another tool)", alone)
        _make("evaluate", cfg, project, save, max_failures)
        return
    if out is None:
        raise InputError("--outputs needs --out FOLDER, where the report and the tables go.")
    from trapline.apps.evaluate_scores import evaluate_scores
    from trapline.formats import example_csv

    log = ConsoleLog()
    if examples is None:
        opened = Project(project, log)
        table, splits, crops = opened.table("examples"), opened.table("splits"), crops or opened.layout.crops
        given = {option: getattr(cfg, option) for option in cfg.model_fields_set} if cfg is not None else {}
        cfg = opened.config.evaluate.model_copy(update=given)
    else:
        table, splits, notes = example_csv.read(examples)
        for note in notes:
            log.warn(note)
    evaluate_scores(
        outputs, table, splits, out, cfg or config.EvaluateConfig(), mapping=target_mapping, crops_dir=crops,
        name=name or "", log=log,
    )  # fmt: skip
    log.note(f"report: {out / 'report.html'}")
    if cfg is not None and cfg.card:
        log.note(f"model card: {out / 'model_card.md'}")


def _only_with(other: str, options: Mapping[str, object]) -> None:
    """Raise where options are given that mean nothing without another one."""
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: only together with {other}.")


def compare(a: str, b: str, *, project: ProjectFolder = Path(".")) -> None:
    """Say whether one classifier is better than another, at places that neither has seen: paired, with an interval.

    Args:
        a: A run of the project, by its folder's name, or the folder of any evaluated run.
        b: The run it is compared with.
    """
    from trapline.apps.compare import compare as run_compare

    log = ConsoleLog()
    found = run_compare(a, b, root=project, log=log)
    table = Table("figure", "A", "B", "B - A", "95% interval", box=None, pad_edge=False)
    for row in found:
        interval = f"{row.low:+.3f} to {row.high:+.3f}" if row.low is not None and row.high is not None else row.reason
        cells = (f"{value:.3f}" if value is not None else "-" for value in (row.a, row.b))
        difference = f"{row.value:+.3f}" if row.value is not None else "-"
        table.add_row(row.name.replace("_", " "), *cells, difference, _plain(interval or ""))
    log.console.print(table)
