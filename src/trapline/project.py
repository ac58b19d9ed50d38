"""A project: its configuration, its stages in order, what is up to date and why not."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from trapline.core.config import ProjectConfig, Section, TrainConfig
from trapline.core.errors import InputError, RunIsStale, TooManyFailures
from trapline.core.issues.labels import MARGIN
from trapline.core.log import Log
from trapline.core.versions import OPTIONAL, STAGES, VERSIONS
from trapline.engine.choice import EngineName, engine_of
from trapline.io import project_file, tables
from trapline.io.layout import Layout
from trapline.io.ledger import Parts, Record, Records, lock
from trapline.io.notebook import NotebookLog, in_notebook
from trapline.io.runs import find_run
from trapline.io.storage import Storage
from trapline.report import glance
from trapline.stages.crop import remove_damaged
from trapline.steps import STEPS, Context, inspect, is_beside, let_others_go, run_fingerprint, train_beside

Options = Mapping[str, object]


@dataclass(frozen=True)
class StageStatus:
    """How a stage stands.

    Args:
        state: "up to date", "not made", "stale" or "waiting" (for an earlier stage).
        reasons: Why it is not up to date.
        made_with: Options of its own call that differ from trapline.yaml.
        record: How its present outputs were made, or None.
        settings: What it would be made with now.
        inputs: Fingerprints of what it would be made from now; "not made" for what does not exist yet.
    """

    stage: str
    state: str
    reasons: tuple[str, ...]
    made_with: Mapping[str, object]
    record: Record | None
    settings: Section
    inputs: Mapping[str, str]


class Project:
    """A trapline project folder.

    Args:
        root: The folder that holds trapline.yaml.
        log: Where stages speak to; by default silent, in a notebook below the cell.
        engine: Where fetch, crop, embed, train and predict run: this machine, or a Ray cluster.
        address: HOST:PORT of the cluster's head. Default: RAY_ADDRESS, or the cluster that this machine belongs to.
        workers: Processes of the cluster that train together.
        gpus_per_worker: GPUs of each of them.

    Raises:
        InputError: There is no project, or its trapline.yaml has problems (all are listed).
    """

    def __init__(
        self,
        root: str | Path = ".",
        log: Log | None = None,
        *,
        engine: EngineName = "local",
        address: str | None = None,
        workers: int = 1,
        gpus_per_worker: float = 0,
    ):
        self.layout = Layout(Path(root).expanduser().resolve())
        self.config: ProjectConfig = project_file.read(self.layout.config)
        self.log = log or (NotebookLog() if in_notebook() else Log())
        self.records = Records(self.layout.records)
        self.engine = engine_of(
            engine, address, root=self.layout.root, workers=workers, gpus_per_worker=gpus_per_worker
        )

    @property
    def storage(self) -> Storage:
        """Where its crops, parts and checkpoints lie."""
        return Storage(self.layout, self.config.storage)

    def __repr__(self) -> str:
        lines = [f"{status.stage:9} {status.state}" for status in self.status()]
        return "\n".join([f"trapline project {self.layout.root}", *lines])

    def _repr_html_(self) -> str:
        """How the project stands, its labels, splits and accuracy, as a notebook shows it."""
        stages = self.status()
        made = {status.stage: status.record for status in stages if status.record}
        split = self.config.split
        return glance.as_html(
            glance.Glance(
                f"trapline project {self.layout.root}",
                [(status.stage, _state(status), "\n".join(status.record.accounts) if status.record else "")
                 for status in stages],
                [f"{name}: {warning}" for name, record in made.items() for warning in record.warnings],
                self.table("examples") if "dataset" in made else None,
                self.table("splits") if {"dataset", "split"} <= made.keys() else None,
                self.table("metrics") if "evaluate" in made else None,
                (1 - split.val_frac - split.test_frac, split.val_frac, split.test_frac),
                str(made["evaluate"].facts["report"]) if "evaluate" in made else "",
            )
        )  # fmt: skip

    def table(self, name: str) -> pl.DataFrame:
        """One of the project's tables by name ("images", "boxes", "crops", "examples", "splits", "metrics", ...).

        Raises:
            TraplineError: It was not made yet.
        """
        if name == "predictions":
            record = self.records.read("predict")
            if record is not None:
                return tables.read(self.layout.run(str(record.facts["run"])) / "predictions.parquet")
        return tables.read(self.layout.table(name))

    def settings(self, stage: str, options: Options | None = None) -> Section:
        """A stage's section of trapline.yaml with options put over it, validated as a whole.

        Raises:
            InputError: Lists what is wrong with the options.
        """
        whole = self.config.model_dump()
        whole[stage] |= dict(options or {})
        try:
            return getattr(ProjectConfig.model_validate(whole), stage)
        except ValidationError as error:
            found = project_file.problems(error, ProjectConfig)
            raise InputError(f"options of {stage} have {len(found)} problem(s):", found) from None

    def run(
        self,
        until: str | None = None,
        from_: str | None = None,
        *,
        retrain: bool = False,
        max_failures: int | None = None,
    ) -> None:
        """Bring the stages up to date, in order; what is up to date is left alone.

        Args:
            until: Last stage to make (default: the last).
            from_: First stage to look at; earlier ones are taken as they are.
            retrain: Train again where the training run no longer matches its inputs.
            max_failures: Images that may fail; default from trapline.yaml.

        Raises:
            InputError: An unknown stage, or bad input files.
            RunIsStale: Training again would cost time and was not asked for.
            TooManyFailures: Everything is made, but more images failed than allowed.
            LockHeld: Another process works in this project.
        """
        for stage in (until, from_):
            _check_stage(stage)
        first = STAGES.index(from_) if from_ else 0
        last = STAGES.index(until) if until else len(STAGES) - 1
        chosen = [stage for stage in STAGES[first : last + 1] if stage not in OPTIONAL or stage in (until, from_)]
        with lock(self.layout.lock):
            for stage in STAGES[:first]:
                if stage not in OPTIONAL and self.records.read(stage) is None:
                    raise InputError(f"cannot start from {from_}: {stage} was not made yet. Leave out --from.")
            for stage in chosen:
                status = self._status(stage, None)
                if stage == "train" and not retrain:
                    self._refuse_stale_run(status)
                self._bring_up_to_date(status)
        self._check_failures(chosen, max_failures)

    def make(
        self,
        stage: str,
        options: Options | None = None,
        *,
        max_failures: int | None = None,
        earlier_options: Mapping[str, Options] | None = None,
    ) -> None:
        """Make one stage exactly as trapline.yaml and `options` say, after the stale ones before it.

        Earlier stages keep the options they were last made with. A training is never started on the way to a later
        stage.

        Args:
            options: Fields of the stage's config, for this call; recorded, and shown by `status`.
            earlier_options: Stage -> options of an earlier stage, beside those it was last made with.

        Raises:
            InputError: An unknown stage or option, bad input files, or no training run to go on from.
            RunIsStale, TooManyFailures, LockHeld: As `run`.
        """
        _check_stage(stage)
        section = self.settings(stage, options)
        if isinstance(section, TrainConfig) and is_beside():
            train_beside(self._context(), section)
            return
        with lock(self.layout.lock):
            for earlier in STAGES[: STAGES.index(stage)]:
                status = self._status(earlier, None)
                if more := (earlier_options or {}).get(earlier):
                    status = self._status(earlier, {**self._sticky(earlier, status.record), **more})
                if earlier in OPTIONAL:
                    continue
                if earlier == "train":
                    if status.record is None:
                        raise InputError(f"{stage} needs a trained classifier. Make one first: trapline train")
                    self._refuse_stale_run(status)
                self._bring_up_to_date(status)
            self._bring_up_to_date(self._status(stage, options or {}))
            if isinstance(section, TrainConfig):
                let_others_go(section)
        self._check_failures(STAGES[: STAGES.index(stage) + 1], max_failures)

    def inspect(self, *, margin: float = MARGIN, max_failures: int | None = None) -> pl.DataFrame:
        """Find what a person should look at, and write it into tables/issues.parquet and inspect.html.

        Stale stages before it are made first, embeddings of the default model among them.

        Args:
            margin: A held-out crop to which the last run's classifier gives another label is listed where that label's
                probability exceeds the given label's by so much; 0 to 1.

        Returns:
            ISSUES rows: crop_id, kind, evidence, score; by kind, worst first.

        Raises:
            InputError: As `make`, or a margin that is none.
            LockHeld: As `make`.
            TooManyFailures: Everything is written, but more images failed than allowed.
        """
        if not 0 <= margin <= 1:
            raise InputError(f"the margin is a difference of probabilities, from 0 to 1, not {margin}.")
        self.make("embed", max_failures=sys.maxsize)  # what failed is said after what was found in the rest
        with lock(self.layout.lock):
            found = inspect(self._context(), margin, self.log)
        self._check_failures(STAGES, max_failures)
        return found

    def retry_failed(self) -> int:
        """Make the images that could not be fetched be asked for again, by the next `make("fetch")` or `run`.

        Returns:
            How many there are.
        """
        with lock(self.layout.lock):
            forgotten = Parts(self.layout.parts("fetch")).forget(pl.col("failure").is_not_null())
            if forgotten:
                self.records.forget("fetch")
        return forgotten

    def check_crops(self) -> int:
        """Read every stored crop, and make those that are damaged or gone be made again by the next `make("crop")`.

        Images that could not be had when they were streamed are asked for again too.

        Returns:
            How many crops are damaged or gone.
        """
        with lock(self.layout.lock):
            found = remove_damaged(self.storage.parts("crop"), self.storage.crops, self.log)
            self.records.forget("crop")
        return found

    def save(self, stage: str, options: Options) -> None:
        """Write options of a stage into trapline.yaml, keeping its comments."""
        section = self.settings(stage, options)
        values = section.model_dump(mode="json")
        project_file.set_values(self.layout.config, stage, {name: values[name] for name in options})
        self.config = project_file.read(self.layout.config)

    def status(self) -> list[StageStatus]:
        """How every stage stands, in order. Touches nothing."""
        found: list[StageStatus] = []
        waiting = ""
        for stage in STAGES:
            status = self._status(stage, None)
            if stage in OPTIONAL and status.record is None:
                continue
            if waiting and status.state != "not made":
                status = replace(status, state="waiting", reasons=(f"for {waiting}",))
            if status.state != "up to date" and not waiting and stage not in OPTIONAL:
                waiting = stage
            found.append(status)
        return found

    # -- how a stage stands ---------------------------------------------------------------------------------------

    def _context(self) -> Context:
        return Context(self.layout, self.config, self.records, self.engine)

    def _sticky(self, stage: str, record: Record | None) -> dict[str, object]:
        """Options a stage was last made with, while trapline.yaml still says what it said then."""
        if record is None:
            return {}
        now = getattr(self.config, stage).model_dump(mode="json")
        return {name: value for name, value in record.overrides.items() if now.get(name) == record.base.get(name)}

    def _inputs(self, stage: str, cfg: Section) -> dict[str, str]:
        """Fingerprints of everything the stage reads; "not made" for what does not exist yet."""
        outputs: dict[str, str] = {}
        for earlier in STAGES[: STAGES.index(stage)]:
            record = self.records.read(earlier)
            if record is not None:
                outputs |= record.outputs
        step = STEPS[stage]
        return {name: outputs.get(name, "not made") for name in step.reads} | step.outside(self._context(), cfg)

    def _status(self, stage: str, given: Options | None) -> StageStatus:
        record = self.records.read(stage)
        overrides = dict(given) if given is not None else self._sticky(stage, record)
        base = getattr(self.config, stage).model_dump(mode="json")
        section = self.settings(stage, overrides)
        inputs = self._inputs(stage, section)
        cfg = section.model_dump(mode="json")
        made_with = {name: cfg[name] for name in overrides if cfg[name] != base[name]}
        if record is None:
            return StageStatus(stage, "not made", (), made_with, None, section, inputs)
        reasons = [
            f"{name} {record.config.get(name)!r} -> {value!r}"
            for name, value in cfg.items()
            if record.config.get(name) != value and name not in section.inert
        ]
        names = sorted(inputs.keys() | record.inputs.keys())
        reasons += [f"{name} changed" for name in names if inputs.get(name) != record.inputs.get(name)]
        if record.version != VERSIONS[stage]:
            reasons.append("this version of trapline makes it differently")
        reasons += [f"{name} is gone" for name in record.outputs if not self._exists(name, record)]
        state = "stale" if reasons else "up to date"
        return StageStatus(stage, state, tuple(reasons), made_with, record, section, inputs)

    def _exists(self, output: str, record: Record) -> bool:
        if output in ("run", "predictions"):
            run = str(record.facts.get("run"))
            if output == "run":
                return self.storage.has_checkpoint(run)
            return (self.layout.run(run) / "predictions.parquet").exists()
        return self.layout.table(output).exists()

    # -- making a stage -------------------------------------------------------------------------------------------

    def _bring_up_to_date(self, status: StageStatus) -> None:
        """Make a stage from the settings and inputs that `status` found, unless it is up to date."""
        stage = status.stage
        if status.state == "up to date":
            self.log.stage(stage, "up to date" + _made_with(status.made_with))
            return
        self.log.stage(stage, ("again: " + ", ".join(status.reasons[:3])) if status.reasons else "")
        if stage != "train":  # an old run stays valid until the new one is finished
            self.records.forget(stage)
        begin = time.monotonic()
        self.log.accounts.clear()
        self.log.warnings.clear()
        made = STEPS[stage].run(self._context(), status.settings, status.inputs, self.log)
        self.records.write(
            Record(
                stage=stage,
                version=VERSIONS[stage],
                inputs={**status.inputs, **made.inputs},
                config=status.settings.model_dump(mode="json"),
                overrides=dict(status.made_with),
                base=getattr(self.config, stage).model_dump(mode="json"),
                outputs=made.outputs,
                accounts=[str(account) for account in self.log.accounts],
                warnings=list(self.log.warnings),
                facts=made.facts,
                seconds=round(time.monotonic() - begin, 2),
            )
        )

    def _refuse_stale_run(self, status: StageStatus) -> None:
        """Raise where a finished training no longer matches its inputs, unless the new one was begun already."""
        record = status.record
        if status.state == "up to date" or record is None:
            return
        if find_run(self.layout.runs, run_fingerprint(status.settings, status.inputs)) is not None:
            return
        minutes = max(record.seconds / 60, 0.1)
        raise RunIsStale(
            f"run {record.facts.get('run')} no longer matches what it was trained on: {', '.join(status.reasons)}. "
            f"Training again takes about {minutes:.1f} minutes, as it did last time. Run `trapline run --retrain` to "
            "do it, or `trapline run --until split` to stay before it."
        )

    def _check_failures(self, looked: Sequence[str], allowed: int | None) -> None:
        limit = self.config.max_failures if allowed is None else allowed
        for stage, name in {"crop": "failures.csv", "fetch": "fetch_failures.csv"}.items():
            record = self.records.read(stage) if stage in looked else None
            failed = record.facts.get("failed_images", 0) if record else 0
            if record is None or not isinstance(failed, int) or failed <= limit:
                continue
            what = "; ".join(record.warnings) if stage == "fetch" else f"{failed} images failed"
            remote = record.facts.get("failed_remote")
            remedy = "Try just those again with trapline fetch --retry-failed" if remote else "Mend them and run again"
            raise TooManyFailures(
                f"done, but {what.removesuffix('.')} and max_failures is {limit}. They are listed with their reasons "
                f"in {self.layout.root / name}. {remedy}, or allow them: --max-failures {failed}."
            )


def _check_stage(stage: str | None) -> None:
    if stage is not None and stage not in STAGES:
        raise InputError(f"there is no stage {stage!r}. The stages are {', '.join(STAGES)}.")


def _state(status: StageStatus) -> str:
    return status.state + (f": {'; '.join(status.reasons)}" if status.reasons else "")


def _made_with(options: Mapping[str, Any]) -> str:
    return f" (made with {', '.join(f'{name}={value}' for name, value in options.items())})" if options else ""
