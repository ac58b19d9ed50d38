"""The training loop, once, from top to bottom; and how it goes on after a kill as if there had been none.

Every random choice is made from the seed and the place in the training (epoch, step, crop), none from a state that
would have to be saved. What is left to save: weights, their average, the optimizer, and a few counters.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trapline.core import recipes
from trapline.core.config import TrainConfig
from trapline.core.errors import TraplineError
from trapline.core.log import Advance, Log
from trapline.core.quantities import say_size
from trapline.io import places
from trapline.io.away import Objects
from trapline.io.images import ImageFailure
from trapline.io.places import Source
from trapline.learn import checkpoint, head, memory, models, optimizer, schedule, trial, weights
from trapline.learn import device as devices
from trapline.learn.board import Board
from trapline.learn.clock import Clock
from trapline.learn.history import History
from trapline.learn.infer import infer
from trapline.learn.keeping import Keeper
from trapline.learn.loader import Drawn, batches, load_ahead, sampling_weights, steps_per_epoch
from trapline.learn.processes import Processes
from trapline.learn.step import NotFinite, Stepper
from trapline.learn.task import Progress, Task, unreadable
from trapline.learn.tracking import Tracker
from trapline.learn.transforms import Transform, load_for_training, to_input
from trapline.learn.validation import Judgement, balanced_loss, judge
from trapline.learn.weights import Weights


def fit(
    task: Task,
    cfg: TrainConfig,
    transform: Transform,
    *,
    run_dir: Path,
    device: torch.device,
    threads: int,
    trained: dict[str, Any],
    log: Log,
    start: Weights | None = None,
    processes: Processes | None = None,
    clock: Clock | None = None,
    away: Objects | None = None,
) -> Progress:
    """Train until the epochs or the patience are used up; go on from `checkpoints/last.pt` if there is one.

    Args:
        threads: torch's, on the CPU; equal numbers give equal weights.
        trained: How the checkpoints came about, stored in them as it is.
        start: Weights to start from, instead of the pretrained ones.
        processes: Those that train together; default this one alone.
        clock: What is left of the time budget.
        away: Where copies of the checkpoints are put.

    Raises:
        TraplineError: A crop vanished or cannot be decoded, the loss is not a number, nothing fits into memory or
            onto the disk. What is on disk stays good.
        TimeIsUp: The time budget is used up; the same call goes on.
    """
    with devices.isolated(device, threads):
        training = Training(
            task,
            cfg,
            transform,
            run_dir=run_dir,
            device=device,
            trained=trained,
            log=log,
            start=start,
            processes=processes or Processes(),
            clock=clock or Clock(None),
            away=away,
        )
        try:
            training.resume_or_start()
            left = (training.recipe.epochs - training.now.epoch) * len(task.paths) - training.now.seen
            with log.progress("training", left, "crops") as advance:
                while training.now.epoch < training.recipe.epochs and not training.out_of_patience():
                    training.train_epoch(advance)
                    training.end_epoch()
        finally:
            training.close()
        return training.now


class Training:
    """A model in training: what `fit` moves along."""

    def __init__(
        self,
        task: Task,
        cfg: TrainConfig,
        transform: Transform,
        *,
        run_dir: Path,
        device: torch.device,
        trained: dict[str, Any],
        log: Log,
        start: Weights | None,
        processes: Processes,
        clock: Clock,
        away: Objects | None = None,
    ):
        self.task, self.cfg, self.transform, self.run_dir = task, cfg, transform, run_dir
        self.recipe = recipes.of(cfg)
        self.device, self.trained, self.log, self.processes, self.clock = device, trained, log, processes, clock
        self.keeper = Keeper(run_dir / "checkpoints", cfg.max_disk_bytes, away)
        self.now = Progress()
        self.per_epoch = steps_per_epoch(len(task.paths), cfg.batch_size)
        self.sampling = sampling_weights(task.targets, task.weights, balanced=cfg.label_weighted)
        self.resumed = processes.from_first(self.keeper.begun)
        self.val_s, self.save_s, self.moved = 0.0, 0.0, 0  # what evaluating and saving took; steps of this call
        torch.manual_seed(devices.seed_from("weights", cfg.seed))
        # A resumed training takes its weights from the checkpoint: no package, no network.
        fresh = cfg.pretrained and start is None and not self.resumed
        self.model = models.build(cfg.timm_name, len(task.labels), pretrained=fresh)
        self.known_labels: list[str] = []
        if start is not None and not self.resumed:
            self.known_labels = weights.install(self.model, start, cfg.timm_name, task.labels)
        self.model.to(device)
        alone = len(task.paths) < 2 * self.per_epoch * processes.world  # a batch of one crop has no statistics
        still = (self.recipe.still and (cfg.pretrained or cfg.weights is not None)) or alone
        self.still = models.freeze(self.model, self.recipe.freeze, statistics=still)
        models.set_norm_momentum(self.model, self.recipe.norm_momentum)
        self.unfrozen = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.average = schedule.Average(self.model)
        self.optimizer = optimizer.make(self.model, self.recipe)
        if processes.first:
            self.keeper.check_room(self.model)
        machine = self._machine()
        self.precision = machine.precision
        self.stepper = self._stepper(machine.precision, machine.micro_batch, on_trial=False)
        if self.resumed:
            self._restore()
        else:
            self.now.micro_batch = self.stepper.micro_batch
        processes.meet()  # before the first writes what the others may still be reading
        first = self.now.epoch + 1 if self.resumed else 0
        self.history = self._history(first) if processes.first else None
        self.board = Board(self.history, task, transform, extremes=cfg.log_extreme_examples)

    def resume_or_start(self) -> None:
        """Say where training goes on; or fit the head it starts with, which is epoch 0."""
        if self.resumed:
            self.log.note(f"training goes on from its checkpoint ({self._place()})")
            return
        made = False
        if self.processes.first:
            started = time.monotonic()
            networks = (self.model, self.average.model)
            features = lambda paths, advance: self._infer(paths, "features", advance)  # noqa: E731
            made = head.start(networks, self.known_labels, self.task, self.cfg, self.recipe, features, self.log)
            self.now.seconds = time.monotonic() - started if made else 0.0
        self.processes.copy_from_first(self.model)
        self.processes.copy_from_first(self.average.model)
        if self.processes.from_first(made):
            self.end_epoch(trained=False)

    def train_epoch(self, advance: Advance) -> None:
        """One epoch, or what is left of it."""
        cfg, now, task = self.cfg, self.now, self.task
        epoch, total = now.epoch + 1, self.recipe.epochs * self.per_epoch
        order = batches(len(task.paths), cfg.batch_size, seed=cfg.seed, epoch=epoch, weights=self.sampling)
        shares = [batch[self.processes.share(len(batch))] for batch in order[now.batch :]]

        def load(drawn: Drawn) -> np.ndarray:
            return self._load(drawn, epoch)

        self._set_training(head_only=epoch <= cfg.head_epochs)
        started, saved = time.monotonic() - now.seconds, time.monotonic()
        self.board.batch_to_come(epoch)
        for share, loaded in load_ahead(shares, load, cfg.num_workers or places.threads_for(task.paths)):
            begin = time.monotonic()
            batch = order[now.batch]
            size = self.transform.image_size
            pixels = np.stack(loaded) if loaded else np.zeros((0, size, size, 3), np.uint8)
            targets = task.targets[[drawn.example for drawn in share]]
            factor = schedule.lr_factor(self.recipe.schedule, now.step, total, self.per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            seed = devices.seed_from("step", cfg.seed, now.step)  # of dropout, drop path
            try:
                loss = self.stepper.take(pixels, targets, of=len(batch), seed=seed)
            except NotFinite as error:
                raise self._not_finite(error, batch) from None
            self.board.batch(pixels, targets)
            self.average.update(schedule.averaging_decay(now.step, self.per_epoch) if self.recipe.average else 0.0)
            self.moved += 1
            now.step += 1
            now.batch += 1
            now.loss_sum += loss * len(batch)
            now.seen += len(batch)
            now.seconds = time.monotonic() - started
            used = say_size(memory.peak(self.device))
            advance(len(batch), f"epoch {epoch} of {self.recipe.epochs}, loss {loss:.3f}, {used}")
            if time.monotonic() - saved > 60 * cfg.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
            if now.batch < self.per_epoch:
                self._stop_in_time(time.monotonic() - begin)

    def end_epoch(self, *, trained: bool = True) -> None:
        """Evaluate the averaged weights on val, tell, and keep: metrics first, then best, then last.

        A kill between these costs the epoch's end again, no more: last.pt says how much of metrics.jsonl holds.
        """
        now = self.now
        epoch = now.epoch + 1 if trained else 0
        self._settle()
        if trained:
            self._stop_in_time(self.val_s)
        started = time.monotonic()
        scores, val = self.processes.from_first(self._evaluate(epoch) if self.processes.first else None) or _nothing()
        self.val_s = time.monotonic() - started
        row = {
            "epoch": epoch,
            "train_loss": now.loss_sum / now.seen if trained else None,
            "val_loss": val.loss,
            "val_macro_recall": val.macro_recall,
            "val_accuracy": val.accuracy,
            "val_balanced_loss": None if np.isnan(val.balanced_loss) else val.balanced_loss,
            **({"val_mean_ap": val.mean_ap} if self.task.multilabel else {}),
            "lr": self.optimizer.param_groups[0]["lr"] if trained else None,
            "micro_batch": self.stepper.micro_batch if trained else None,
            "seconds": round(now.seconds + self.val_s, 3),
            "images_per_s": round(now.seen / now.seconds, 2) if trained else None,
            "peak_memory_mb": round(memory.peak(self.device) / 1e6),
        }
        if self.history is not None:
            now.metrics_size = self.history.append(row)
        better = val.is_kept(now.best_merit, self.recipe.best_by)
        self.board.epoch(epoch, scores, better=better)
        if better:
            now.best_epoch, now.best_score = epoch, val.score
        if (merit := val.merit(self.recipe.best_by)) is not None:
            now.best_merit = max(merit, now.best_merit or merit)
        now.epoch, now.batch, now.loss_sum, now.seen, now.seconds = epoch, 0, 0.0, 0, 0.0
        if better and self.processes.first:
            self.keeper.save_best(self._checkpoint(val))
        self.moved += 1
        self.save()
        self._tell(row, better)
        if epoch < self.recipe.epochs and not self.out_of_patience():
            self._stop_in_time(0.0)

    def out_of_patience(self) -> bool:
        """Whether val has not become better for `patience` epochs."""
        return self.now.best_score is not None and self.now.epoch - self.now.best_epoch >= self.recipe.patience

    def seconds_per_crop(self, paths: Sequence[Source]) -> float:
        """How long the inference loop takes with this model, per crop, after a few to warm up."""
        self._infer(paths[:8], "features")
        begin = time.monotonic()
        self._infer(paths, "features")
        return (time.monotonic() - begin) / len(paths)

    def close(self) -> None:
        """End what runs beside."""
        if self.history is not None:
            self.history.close()

    # -- the beginning --------------------------------------------------------------------------------------------

    def _machine(self) -> trial.Machine:
        """How to compute here: as the first process found it for this run before, else finds it by trial steps."""
        cfg, found = self.cfg, None
        if self.processes.first:
            found = trial.read(self.run_dir)
            if found is None or found.device != trial.name_of(self.device):
                tried = trial.Trial(self.model, self._stepper, self.transform, self.device, self.task.targets)
                self._set_training(head_only=False)
                most = -(-min(cfg.batch_size, len(self.task.paths)) // self.processes.world)
                found = tried.machine(cfg, most, self.recipe.epochs * self.per_epoch)
                trial.write(self.run_dir, found)
                for line in found.lines(most):
                    self.log.note(line)
        found = self.processes.from_first(found)
        assert found is not None
        if cfg.micro_batch:
            found.micro_batch = cfg.micro_batch
        return found

    def _history(self, first_epoch: int) -> History:
        tracker = Tracker(self.cfg.track, self.run_dir, self.trained.get("config", {}), self.log)
        return History(self.run_dir, size=self.now.metrics_size, epoch=first_epoch, tracker=tracker)

    def _stepper(self, precision: str, micro_batch: int, *, on_trial: bool = True) -> Stepper:
        """What takes the steps, or tries them out."""
        alone = on_trial or not self.cfg.compile
        return Stepper(
            self.model,
            self.model if alone else torch.compile(self.model),
            self.optimizer,
            devices.gradient_scaler(self.device, precision),
            prepare=lambda pixels: to_input(pixels, self.transform, self.device),
            autocast=trial.autocast(self.device, precision),
            device=self.device,
            smoothing=self.recipe.label_smoothing,
            clip_norm=self.recipe.clip_norm,
            micro_batch=micro_batch,
            processes=Processes() if on_trial else self.processes,
            shrunk=(lambda size: None) if on_trial else self._shrunk,
        )

    # -- along the way --------------------------------------------------------------------------------------------

    def _set_training(self, *, head_only: bool) -> None:
        """Which weights move, and which layers are in training mode."""
        own = {id(parameter) for parameter in models.classifier(self.model).parameters()}
        for parameter in self.unfrozen:
            parameter.requires_grad_(not head_only or id(parameter) in own)
        self.model.train()
        if head_only:
            self.model.eval()
            models.classifier(self.model).train()
        for module in self.still:
            module.eval()

    def _shrunk(self, size: int) -> None:
        effect = ""
        if self.stepper.moving():
            effect = "; BatchNorm now takes its statistics over fewer crops, which changes what is learnt"
        self.log.warn(
            f"memory ran out at {self._place()}: the step is repeated with {size} crops in memory at a time "
            f"instead of {self.now.micro_batch}{effect}"
        )
        self.now.micro_batch = size

    def _evaluate(self, epoch: int) -> tuple[np.ndarray | None, Judgement]:
        """How the averaged weights do on val."""
        if not self.task.val_paths:
            return _nothing()
        scores = self._infer(self.task.val_paths, "scores")
        found = judge(scores, self.task.val_targets)
        if not self.task.multilabel:
            found = found._replace(balanced_loss=balanced_loss(scores, self.task.val_targets))
        return scores, found

    def _infer(
        self, paths: Sequence[Source], output: Literal["scores", "features"], advance: Advance | None = None
    ) -> np.ndarray:
        """The inference loop with the averaged weights; a crop that cannot be read ends the training."""
        values, failures = infer(
            self.average.model,
            self.transform,
            paths,
            output,
            batch_size=max(self.cfg.batch_size, 32),
            device=self.device,
            multilabel=self.task.multilabel,
            threads=self.cfg.num_workers,
            done=advance or (lambda n: None),
        )
        bad = [(path, why) for path, why in zip(paths, failures, strict=True) if why]
        if bad:
            raise unreadable(*bad[0], len(bad))
        return values

    def _load(self, drawn: Drawn, epoch: int) -> np.ndarray:
        task, share = self.task, self.recipe.backgrounds
        used = [task.paths[drawn.example]]

        def behind(random: np.random.Generator) -> Source | None:
            other = task.elsewhere(drawn.example, random) if random.random() < share else None
            if other is None:
                return None
            used.append(task.paths[other])
            return used[-1]

        key = (self.cfg.seed, epoch, task.crop_ids[drawn.example], drawn.draw)
        how = self.recipe.augmentation
        try:
            return load_for_training(used[0], self.transform, how, *key, behind=behind if share else None)
        except ImageFailure as failure:
            raise unreadable(used[-1], str(failure), 1) from None

    def _place(self) -> str:
        return f"epoch {self.now.epoch + 1}, step {self.now.batch} of {self.per_epoch}"

    def _not_finite(self, error: NotFinite, batch: Sequence[Drawn]) -> TraplineError:
        names = sorted({self.task.crop_ids[drawn.example] for drawn in batch})
        return TraplineError(
            f"{error.what} at step {self.now.step + 1} (epoch {self.now.epoch + 1}), for these crops: "
            f"{', '.join(names)}. Try a lower --lr (now {self.recipe.lr:g}); the last checkpoint is still good."
        )

    def _settle(self) -> None:
        """See that the last step's gradient was a number, before anything of it is kept."""
        try:
            self.stepper.settle()
        except NotFinite as error:
            raise TraplineError(
                f"{error.what} at step {self.now.step} (epoch {self.now.epoch + 1}). Try a lower --lr (now "
                f"{self.recipe.lr:g}); the last checkpoint is still good."
            ) from None

    def _stop_in_time(self, next_s: float) -> None:
        """End here where the time budget does not allow what comes next; but never without having moved on."""
        if not self.clock.limited or not self.moved:
            return
        if self.processes.from_first(self.clock.allows(next_s + self.save_s)):
            return
        self.save()
        left = (self.recipe.epochs - self.now.epoch) * self.per_epoch - self.now.batch
        pace = self.now.seconds / self.now.batch if self.now.batch else None
        raise self.clock.time_is_up(self._place(), None if pace is None else pace * left)

    # -- what is kept ---------------------------------------------------------------------------------------------

    def _checkpoint(self, val: Judgement | None) -> checkpoint.Checkpoint:
        return checkpoint.Checkpoint(
            model=self.cfg.timm_name,
            labels=self.task.labels,
            transform=self.transform,
            weights=self.average.model.state_dict(),
            epoch=self.now.epoch,
            val_macro_recall=None if val is None else val.macro_recall,
            multilabel=self.task.multilabel,
            trained=self.trained,
        )

    def save(self) -> None:
        """Write last.pt: everything that going on needs."""
        self._settle()
        if not self.processes.first:
            return
        begin = time.monotonic()
        state = {
            "progress": vars(self.now).copy(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
        }
        self.keeper.save_last(self._checkpoint(None), state)
        self.save_s = time.monotonic() - begin

    def _restore(self) -> None:
        saved, state = self.keeper.read_last(self.task.labels, self.cfg.timm_name)
        self.now = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(dict(saved.weights))
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.stepper.scaler.load_state_dict(state["scaler"])
        self.stepper.micro_batch = min(self.stepper.micro_batch, self.now.micro_batch or self.stepper.micro_batch)
        self.now.micro_batch = self.stepper.micro_batch

    def _tell(self, row: dict[str, Any], better: bool) -> None:
        parts = [f"epoch {row['epoch']}" + (" (before training)" if row["epoch"] == 0 else "")]
        if row["train_loss"] is not None:
            parts.append(f"train loss {row['train_loss']:.3f}")
        if row["val_macro_recall"] is not None:
            score, name = row["val_macro_recall"], "macro recall"
            if self.task.multilabel:
                score, name = row["val_mean_ap"], "mean average precision"
            parts.append(f"val loss {row['val_loss']:.3f}, {name} {score:.3f}")
        parts.append(f"{row['seconds']:.0f} s" + (", kept" if better else ""))
        self.log.note("; ".join(parts))


def _nothing() -> tuple[None, Judgement]:
    return None, Judgement(None, None, None)
