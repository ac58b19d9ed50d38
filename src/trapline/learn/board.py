"""What a person looks at in TensorBoard beside the scalars: recall per label, confusion, batches, extreme examples."""

import posixpath

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trapline.io.images import ImageFailure
from trapline.learn.history import History
from trapline.learn.task import Task
from trapline.learn.transforms import Transform, load_for_evaluation

SHOWN = 16  # crops of a batch
MOST_NAMES = 40  # labels that are named along a confusion matrix


class Board:
    """Pictures of a training in TensorBoard. With no history (a process that writes nothing) it does nothing.

    Args:
        extremes: Val crops shown per label and kind; 0 for none.
    """

    def __init__(self, history: History | None, task: Task, transform: Transform, *, extremes: int):
        self.history, self.task, self.transform, self.extremes = history, task, transform, extremes
        self._epoch: int | None = None

    def batch_to_come(self, epoch: int) -> None:
        """An epoch begins: its first batch is to be shown."""
        self._epoch = epoch

    def batch(self, pixels: np.ndarray, targets: np.ndarray) -> None:
        """Show a batch as the model saw it, uint8 [n, size, size, 3], if it is the epoch's first."""
        epoch, self._epoch = self._epoch, None
        if self.history is None or epoch is None or not len(pixels):
            return
        self.history.show_images("train/batch", pixels[:SHOWN], epoch)
        names = [self._names(target) for target in targets[:SHOWN]]
        self.history.show_text("train/batch labels", ", ".join(names), epoch)

    def epoch(self, epoch: int, scores: np.ndarray | None, *, better: bool) -> None:
        """Show how val was judged.

        Args:
            scores: [n, labels] of the val crops; None without any.
            better: The best epoch so far: worth pictures of single crops.
        """
        if self.history is None or scores is None:
            return
        truth = self._truth()
        found = scores >= 0.5 if self.task.multilabel else np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)]
        for k, label in enumerate(self.task.labels):
            if truth[:, k].any():
                self.history.show_scalar(f"recall/{label}", float(found[truth[:, k], k].mean()), epoch)
        if not self.task.multilabel:
            self.history.show_images("val/confusion", self._confusion(scores)[None], epoch)
        if self.extremes and better:
            self._show_extremes(scores, truth, found, epoch)

    def _show_extremes(self, scores: np.ndarray, truth: np.ndarray, found: np.ndarray, epoch: int) -> None:
        """The most confident of each label: right, wrong (said, and not so) and missed. A few pictures at a time."""
        for k, label in enumerate(self.task.labels):
            own = scores[:, k]
            kinds = {
                "right": (truth[:, k] & found[:, k], -own),
                "wrong": (~truth[:, k] & found[:, k], -own),
                "missed": (truth[:, k] & ~found[:, k], own),
            }
            for kind, (among, order) in kinds.items():
                candidates = np.flatnonzero(among)
                chosen = candidates[np.argsort(order[candidates], kind="stable")[: self.extremes]]
                if len(chosen):
                    self._show_crops(f"extreme/{label}/{kind}", chosen, own, epoch)

    def _show_crops(self, tag: str, chosen: np.ndarray, scores: np.ndarray, epoch: int) -> None:
        assert self.history is not None
        pixels, lines = [], []
        for k in chosen:
            path = self.task.val_paths[k]
            try:
                pixels.append(load_for_evaluation(path, self.transform))
            except ImageFailure:  # it was there a moment ago; a picture less
                continue
            lines.append(f"{scores[k]:.3f} {posixpath.basename(path.name)} ({self._names(self.task.val_targets[k])})")
        if pixels:
            self.history.show_images(tag, np.stack(pixels), epoch)
            self.history.show_text(tag, "  \n".join(lines), epoch)

    def _truth(self) -> np.ndarray:
        """bool [val crops, labels]."""
        if self.task.multilabel:
            return self.task.val_targets > 0.5
        return np.eye(len(self.task.labels), dtype=bool)[self.task.val_targets]

    def _names(self, target: np.ndarray) -> str:
        chosen = np.flatnonzero(target > 0.5) if self.task.multilabel else [int(target)]
        return "+".join(self.task.labels[k] for k in chosen)

    def _confusion(self, scores: np.ndarray) -> np.ndarray:
        """A picture of row-normalised confusion, uint8 [h, w, 3]: truth down, prediction across."""
        n = len(self.task.labels)
        counts = np.zeros((n, n))
        np.add.at(counts, (self.task.val_targets, scores.argmax(axis=1)), 1)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        side = min(max(3.0, 0.3 * n), 12.0)
        figure = Figure(figsize=(side + 1.5, side + 1.0), dpi=90, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        named = range(n) if n <= MOST_NAMES else []
        axes.set_xticks(list(named), [self.task.labels[k] for k in named], rotation=90)
        axes.set_yticks(list(named), [self.task.labels[k] for k in named])
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
