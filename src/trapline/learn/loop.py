"""The training loop, once, from top to bottom; and how it goes on after a kill as if there had been none.

Every random choice is made from the seed and the place in the training (epoch, step, crop), none from a state that
would have to be saved. What is left to save: weights, their average, the optimizer, and a few counters.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trapline.core.config import TrainConfig
from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Advance, Log
from trapline.io.images import ImageFailure
from trapline.learn import checkpoint, models, probe, schedule
from trapline.learn import device as devices
from trapline.learn.history import History
from trapline.learn.infer import infer
from trapline.learn.loader import Drawn, batches, load_ahead, sampling_weights, steps_per_epoch
from trapline.learn.task import Progress, Task, unreadable
from trapline.learn.transforms import Transform, load_for_training, to_input
from trapline.learn.validation import Judgement, judge

LAST, BEST = "last.pt", "best.pt"
CLIP_NORM = 5.0  # a guard against single wild batches


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
) -> Progress:
    """Train until the epochs or the patience are used up; go on from `checkpoints/last.pt` if there is one.

    Args:
        threads: torch's, on the CPU; equal numbers give equal weights.
        trained: How the checkpoints came about, stored in them as it is.

    Raises:
        TraplineError: A crop vanished or cannot be decoded, or the loss is not a number; names the crops. What is
            on disk stays good.
    """
    with devices.isolated(device, threads):
        training = Training(task, cfg, transform, run_dir=run_dir, device=device, trained=trained, log=log)
        try:
            training.resume_or_start()
            left = (cfg.epochs - training.now.epoch) * len(task.paths) - training.now.seen
            with log.progress("training", left, "crops") as advance:
                while training.now.epoch < cfg.epochs and not training.out_of_patience():
                    training.train_epoch(advance)
                    training.end_epoch()
        finally:
            training.history.close()
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
    ):
        self.task, self.cfg, self.transform = task, cfg, transform
        self.folder = run_dir / "checkpoints"
        self.device, self.trained, self.log = device, trained, log
        self.now = Progress()
        self.per_epoch = steps_per_epoch(len(task.paths), cfg.batch_size)
        self.sampling = sampling_weights(task.targets, task.weights, balanced=cfg.label_weighted)
        self.resumed = (self.folder / LAST).exists()
        torch.manual_seed(devices.seed_from("weights", cfg.seed))
        # A resumed training takes its weights from the checkpoint: no package, no network.
        self.model = models.build(cfg.timm_name, len(task.labels), pretrained=cfg.pretrained and not self.resumed)
        self.model.to(device)
        alone = len(task.paths) < 2 * self.per_epoch  # a batch of one crop has no statistics
        self.still = models.freeze(self.model, cfg.freeze, statistics=cfg.pretrained or alone)
        self.average = schedule.Average(self.model)
        self.optimizer = torch.optim.AdamW(models.optimizer_groups(self.model, cfg.lr, cfg.weight_decay))
        self.scaler = devices.gradient_scaler(device)
        if self.resumed:
            self._restore()
        first = self.now.epoch + 1 if self.resumed else 0
        self.history = History(run_dir, size=self.now.metrics_size, epoch=first)

    def resume_or_start(self) -> None:
        """Say where training goes on; or fit the probe, which is epoch 0."""
        if self.resumed:
            at = f"epoch {self.now.epoch + 1}, step {self.now.batch} of {self.per_epoch}"
            self.log.note(f"training goes on from its checkpoint ({at})")
            return
        if self.cfg.head_start == "probe" and self._start_from_probe():
            self.end_epoch(trained=False)

    def train_epoch(self, advance: Advance) -> None:
        """One epoch, or what is left of it."""
        cfg, now, task = self.cfg, self.now, self.task
        epoch, total = now.epoch + 1, cfg.epochs * self.per_epoch
        order = batches(len(task.paths), cfg.batch_size, seed=cfg.seed, epoch=epoch, weights=self.sampling)

        def load(drawn: Drawn) -> np.ndarray:
            return self._load(drawn, epoch)

        self.model.train()
        for module in self.still:
            module.eval()
        started, saved = time.monotonic() - now.seconds, time.monotonic()
        for batch, loaded in load_ahead(order[now.batch :], load, cfg.num_workers or devices.cores()):
            torch.manual_seed(devices.seed_from("step", cfg.seed, now.step))  # dropout, drop path
            images = to_input(np.stack(loaded), self.transform, self.device)
            targets = torch.as_tensor(task.targets[[drawn.example for drawn in batch]], device=self.device)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak_lr"] * schedule.lr_factor(now.step, total)
            with devices.autocast(self.device):
                outputs = self.model(images)
            loss = functional.cross_entropy(outputs.float(), targets, label_smoothing=cfg.label_smoothing)
            self._check_finite(loss_value := loss.item(), batch)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average.update(self.model, schedule.averaging_decay(now.step, self.per_epoch))
            now.step += 1
            now.batch += 1
            now.loss_sum += loss_value * len(batch)
            now.seen += len(batch)
            now.seconds = time.monotonic() - started
            if time.monotonic() - saved > 60 * cfg.checkpoint_minutes:
                self._save_last()
                saved = time.monotonic()
            advance(len(batch), f"epoch {epoch} of {cfg.epochs}, loss {loss_value:.3f}")

    def end_epoch(self, *, trained: bool = True) -> None:
        """Evaluate the averaged weights on val, tell, and keep: metrics first, then best, then last.

        A kill between these costs the epoch's end again, no more: last.pt says how much of metrics.jsonl holds.
        """
        now, started = self.now, time.monotonic()
        epoch = now.epoch + 1 if trained else 0
        val = self._evaluate()
        row = {
            "epoch": epoch,
            "train_loss": now.loss_sum / now.seen if trained else None,
            "val_loss": val.loss,
            "val_macro_recall": val.macro_recall,
            "val_accuracy": val.accuracy,
            "lr": self.optimizer.param_groups[0]["lr"] if trained else None,
            "seconds": round(now.seconds + time.monotonic() - started, 3),
            "images_per_s": round(now.seen / now.seconds, 2) if trained else None,
        }
        now.metrics_size = self.history.append(row)
        better = self._better(val)
        if better:
            now.best_epoch, now.best_recall, now.best_loss = epoch, val.macro_recall, val.loss
        now.epoch, now.batch, now.loss_sum, now.seen, now.seconds = epoch, 0, 0.0, 0, 0.0
        if better:
            checkpoint.save(self.folder / BEST, self._checkpoint(val.macro_recall))
        self._save_last()
        self._tell(row, better)

    def out_of_patience(self) -> bool:
        """Whether val has not become better for `patience` epochs."""
        return self.now.best_recall is not None and self.now.epoch - self.now.best_epoch >= self.cfg.patience

    def _start_from_probe(self) -> bool:
        """Make the classifier a fitted one. False, with a warning, for models without a linear head."""
        heads = [models.linear_head(model) for model in (self.model, self.average.model)]
        chosen = probe.choose(self.task.targets, self.cfg.seed)
        paths = [self.task.paths[k] for k in chosen]
        started = time.monotonic()
        if heads[0] is None:
            if self.cfg.epochs == 0:
                raise InputError(
                    f"{self.cfg.model} has no linear classifier to fit a probe for; train 1 epoch or more."
                )
            self.log.warn(f"{self.cfg.model} has no linear classifier: training starts without the probe")
            return False
        with self.log.progress("features for the probe", len(paths), "crops") as advance:
            found = self._infer(paths, "features", advance)
        weight, bias = probe.fit(found, self.task.targets[chosen], self.task.weights[chosen], len(self.task.labels))
        for head in heads:
            assert head is not None
            probe.install(head, weight, bias)
        self.now.seconds = time.monotonic() - started
        return True

    def _evaluate(self) -> Judgement:
        """How the averaged weights do on val."""
        if not self.task.val_paths:
            return Judgement(None, None, None)
        return judge(self._infer(self.task.val_paths, "scores"), self.task.val_targets)

    def _infer(
        self, paths: Sequence[Path], output: Literal["scores", "features"], advance: Advance | None = None
    ) -> np.ndarray:
        """The inference loop with the averaged weights; a crop that cannot be read ends the training."""
        values, failures = infer(
            self.average.model,
            self.transform,
            paths,
            output,
            batch_size=max(self.cfg.batch_size, 32),
            device=self.device,
            threads=self.cfg.num_workers,
            done=advance or (lambda n: None),
        )
        bad = [(path, why) for path, why in zip(paths, failures, strict=True) if why]
        if bad:
            raise unreadable(*bad[0], len(bad))
        return values

    def _better(self, val: Judgement) -> bool:
        """Higher macro recall; of equals the lower loss. Without val, the latest."""
        best = Judgement(self.now.best_loss, self.now.best_recall, None)
        return best.macro_recall is None or val.rank() > best.rank()

    def _load(self, drawn: Drawn, epoch: int) -> np.ndarray:
        crop_id = self.task.crop_ids[drawn.example]
        try:
            return load_for_training(
                self.task.paths[drawn.example], self.transform, self.cfg.seed, epoch, crop_id, drawn.draw
            )
        except ImageFailure as failure:
            raise unreadable(self.task.paths[drawn.example], str(failure), 1) from None

    def _check_finite(self, loss: float, batch: Sequence[Drawn]) -> None:
        if not math.isfinite(loss):
            names = sorted({self.task.crop_ids[drawn.example] for drawn in batch})
            raise TraplineError(
                f"the loss is {loss} at step {self.now.step + 1} (epoch {self.now.epoch + 1}), for these crops: "
                f"{', '.join(names)}. Try a lower --lr (now {self.cfg.lr:g}); the last checkpoint is still good."
            )

    def _checkpoint(self, recall: float | None) -> checkpoint.Checkpoint:
        return checkpoint.Checkpoint(
            model=self.cfg.timm_name,
            labels=self.task.labels,
            transform=self.transform,
            weights=self.average.model.state_dict(),
            epoch=self.now.epoch,
            val_macro_recall=recall,
            trained=self.trained,
        )

    def _save_last(self) -> None:
        state = {
            "progress": vars(self.now).copy(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        checkpoint.save(self.folder / LAST, self._checkpoint(None), state)

    def _restore(self) -> None:
        path = self.folder / LAST
        saved, state = checkpoint.load_with_state(path)
        if state is None or saved.labels != self.task.labels or saved.model != self.cfg.timm_name:
            raise TraplineError(f"{path} does not belong to this training. Train again in a new run folder.")
        self.now = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(dict(saved.weights))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _tell(self, row: dict[str, Any], better: bool) -> None:
        parts = [f"epoch {row['epoch']}" + (" (probe)" if row["epoch"] == 0 else "")]
        if row["train_loss"] is not None:
            parts.append(f"train loss {row['train_loss']:.3f}")
        if row["val_macro_recall"] is not None:
            parts.append(f"val loss {row['val_loss']:.3f}, macro recall {row['val_macro_recall']:.3f}")
        parts.append(f"{row['seconds']:.0f} s" + (", best so far" if better else ""))
        self.log.note("; ".join(parts))
