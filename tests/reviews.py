"""Material for tests of the review page: drawn frames, crops of them, decisions read back."""

import csv
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from trapline.apps.review.material import Material, complete
from trapline.core import neighbours

LABELS = ["fox", "skunk", "bobcat"]


def draw(folder: Path, crops: int = 60, labels: list[str] | None = None, features: bool = True) -> Material:
    """Frames of 400 x 300 with one box each, in bursts of three; the crop's colour tells its label."""
    labels = labels or LABELS
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(crops):
        frame = folder / f"f{k:04}.jpg"
        picture = Image.new("RGB", (400, 300), (60, 60, 60))
        picture.paste((80 * (k % 3) + 60, 200 - 60 * (k % 3), 90), (100, 60, 180, 140))
        picture.save(frame)
        picture.crop((100, 60, 180, 140)).save(folder / f"c{k:04}.jpg")
        rows.append(
            {
                "crop_id": f"c{k:04}.jpg", "box_id": f"b{k}", "image_id": f"f{k:04}",
                "crop_path": str(folder / f"c{k:04}.jpg"), "frame_path": str(frame),
                "box_x": 0.25, "box_y": 0.2, "box_w": 0.2, "box_h": 4 / 15, "unit": "fraction",
                "box_frame": "displayed",
                "label": labels[k % len(labels)], "split": ["train", "test"][k % 2], "location": f"cam{k // 6}",
                "sequence": f"s{k // 3}", "captured_at": f"2024-05-01 10:00:{k % 60:02}",
                "issues": ["label error"] if k % 5 == 0 else [], "issue_score": k / crops if k % 5 == 0 else None,
                "predicted": labels[(k // 2) % len(labels)], "score": (k * 37 % 100) / 100,
            }
        )  # fmt: skip
    units = neighbours.unit(np.random.default_rng(0).normal(size=(crops, 16)).astype(np.float32)) if features else None
    table = complete(pl.DataFrame(rows, infer_schema_length=None))
    return Material(table, labels, folder / "corrections.csv", "drawn", "trapline run", units)


def written(path: Path) -> list[dict[str, str]]:
    """Rows of corrections.csv, by the csv module alone."""
    if not path.exists():
        return []
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


class Running:
    """`trapline review` as a process of its own."""

    def __init__(self, *arguments: str):
        command = [sys.executable, "-m", "trapline", "review", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"http://\S+token=\S+", self.said)
        assert found, self.said
        self.url = found[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> str:
        """Ctrl-C; what it said afterwards."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=20)
        return rest


def write_list(folder: Path, frames: list[str]) -> Path:
    """A review.csv as `trapline decide` writes it, over frames that lie in `folder`."""
    path = folder / "review.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["rank", "file", "detection", "box_x", "box_y", "box_w", "box_h", "label", "conf", "reason", "gain"]
        )
        for k, name in enumerate(frames):
            writer.writerow(
                [k + 1, name, 0, 0.25, 0.2, 0.2, 0.2667, LABELS[k % 3], 0.5, "unsure: two labels", 1 - k / 100]
            )
    return path
