"""Training speed, loading included, against a plain loop and against the bare step, in one run.

    uv run python benchmarks/train.py --models tf_efficientnet_lite0 resnet18 --crops 128 --rounds 3
    on a GPU: --models efficientnet_b3 --image-size 300 --crops 2048 --batch-size 64 --workers 4

The plain loop is what one writes first: timm's model, contiguous fp32, PIL, torchvision v1 transforms, a DataLoader,
AdamW. The bare step is ours on crops already in memory; loading alone is ours without steps. All with random weights,
nothing frozen, BatchNorm moving, the same batch, the same crops. Rounds take turns; medians are printed, wall clock and
CPU time.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from trapline.core.config import TrainConfig
from trapline.core.log import Log
from trapline.learn import device as devices
from trapline.learn import trial
from trapline.learn.clock import Clock
from trapline.learn.loader import Drawn, load_ahead
from trapline.learn.loop import Training
from trapline.learn.processes import Processes
from trapline.learn.task import Task
from trapline.learn.transforms import Transform

LABELS = 8
CROP_PX = 400


def draw(folder: Path, crops: int) -> list[Path]:
    """JPEG crops with the detail of photographs: noise at two scales."""
    paths = []
    for k in range(crops):
        random = np.random.default_rng(k)
        coarse = Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=np.uint8)).resize((CROP_PX, CROP_PX))
        fine = random.normal(0, 12, (CROP_PX, CROP_PX, 3))
        pixels = (np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{k}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=92)
    return paths


class Plain(Dataset):
    """Crops through torchvision's v1 transforms."""

    def __init__(self, paths: list[Path], size: int):
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, (0.6, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(10),
                transforms.ColorJitter(0.25, 0.25, 0.25),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[k]) as image:
            pixels = self.transform(image.convert("RGB"))
        assert isinstance(pixels, torch.Tensor)
        return pixels, k % LABELS


def plain_epoch(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader, device: str) -> None:
    """The loop that one writes first."""
    model.train()
    for images, targets in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images.to(device)), targets.to(device), label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        loss.item()


def ours(paths: list[Path], cfg: TrainConfig, size: int, folder: Path) -> Training:
    """A training of these crops, not begun."""
    targets = np.arange(len(paths)) % LABELS
    names = tuple(path.name for path in paths)
    weights = np.ones(len(paths))
    task = Task(tuple("abcdefgh"), names, tuple(paths), targets, weights, (), targets[:0], np.arange(len(paths)))
    return Training(
        task,
        cfg,
        Transform(size),
        run_dir=folder,
        device=devices.resolve(cfg.device),
        trained={},
        log=Log(),
        start=None,
        processes=Processes(),
        clock=Clock(None),
    )


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock, and of CPU time of this process and its ended children."""
    wall, before = time.perf_counter(), os.times()
    run()
    after = os.times()
    return time.perf_counter() - wall, sum(after[:4]) - sum(before[:4])


def measure(name: str, size: int, args: argparse.Namespace, paths: list[Path], folder: Path) -> None:
    """Print one model's table."""
    device = str(devices.resolve("auto"))
    cfg = TrainConfig(
        model=name, pretrained=False, epochs=1000, batch_size=args.batch_size, freeze=0.0, label_weighted=False,
        head_start="random", num_workers=args.workers, checkpoint_minutes=1e6,
    )  # fmt: skip
    training = ours(paths, cfg, size, folder / name)
    model = timm.create_model(name, num_classes=LABELS).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(Plain(paths, size), args.batch_size, shuffle=True, num_workers=args.workers)
    pixels, targets = trial.noise(args.batch_size, size), np.arange(args.batch_size) % LABELS

    def our_epoch() -> None:
        training.train_epoch(lambda n=1, info="": None)
        training.now.batch = 0

    def bare() -> None:
        for k in range(training.per_epoch):
            training.stepper.take(pixels, targets, of=len(targets), seed=k)
            training.average.update(0.9)

    def loading() -> None:
        groups = [[Drawn(n, 0) for n in range(start, min(start + args.batch_size, len(paths)))]
                  for start in range(0, len(paths), args.batch_size)]  # fmt: skip
        for _, loaded in load_ahead(groups, lambda drawn: training._load(drawn, 1), args.workers):
            np.stack(loaded)

    ways = {
        "plain loop": lambda: plain_epoch(model, optimizer, loader, device),
        "ours": our_epoch,
        "ours, bare steps": bare,
        "our loading alone": loading,
    }
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for round_ in range(args.rounds + 1):
        for way, run in ways.items():
            took = timed(run)
            if round_:  # the first warms up
                found[way].append(took)
    training.close()
    wall = {way: statistics.median(w for w, _ in times) for way, times in found.items()}
    cpu = {way: statistics.median(c for _, c in times) for way, times in found.items()}
    print(f"\n{name}, {size} px, batch {args.batch_size}, {training.precision}, {len(paths)} crops, {device}")
    for way in ways:
        rate, ratio = len(paths) / wall[way], wall["plain loop"] / wall[way]
        print(f"  {way:18} {rate:7.1f} img/s  {ratio:5.2f} x plain   CPU s {cpu[way]:6.1f}")
    print(f"  whole epochs reach {wall['ours, bare steps'] / wall['ours']:.0%} of the bare step")
    print(f"  loading alone sustains {wall['ours, bare steps'] / wall['our loading alone']:.1f} x what it consumes")


def main() -> None:
    """Measure every model asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "efficientnet_b0", "resnet18"])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--crops", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="that load, for both")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        paths = draw(Path(folder), args.crops)
        for name in args.models:
            measure(name, args.image_size, args, paths, Path(folder))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
