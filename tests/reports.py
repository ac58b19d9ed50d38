"""Material of a report, drawn: scored crops of a middling classifier, with the tables that evaluate would make."""

import io
import os
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from trapline.core import schemas
from trapline.core.judged import LeftOut
from trapline.core.metrics import confusion
from trapline.core.scorecard import Scored, scorecard
from trapline.report.page import Material

SPLITS = ("val", "test")


def draw_material(
    labels: list[str], crops: int, crops_dir: Path, *, locations: int = 24, pictures: int = 0, seed: int = 0, **changes
) -> Material:
    """Material over `crops` crops, half of them val, half test.

    Args:
        pictures: So many crops of test have a picture: a JPEG of noise, 200 px, as hard to pack as any crop.
        changes: Fields of Material to replace.
    """
    rng = np.random.default_rng(seed)
    width = len(labels)
    truth = rng.choice(width, crops, p=np.geomspace(1, 0.05, width) / np.geomspace(1, 0.05, width).sum())
    scores = rng.normal(size=(crops, width)).astype(np.float32)
    scores[np.arange(crops), truth] += rng.normal(3.2, 1.5, crops)
    scores = np.exp(scores - scores.max(1, keepdims=True))
    scores /= scores.sum(1, keepdims=True)
    place = rng.integers(0, locations, crops)
    split = np.array(SPLITS)[place % 2]
    predicted, best = scores.argmax(1), scores.max(1).astype(float)
    ids = [f"drawn/camera {p:02d}/day {n % 28 + 1:02d}/IMG_{n:06d}.JPG___crop00.jpg" for n, p in enumerate(place)]
    names = np.array(labels, dtype=object)
    scored = pl.DataFrame(
        {
            "crop_id": ids, "split": split, "group_id": [f"camera {p:02d}" for p in place],
            "location": [f"camera {p:02d}" for p in place], "camera": None, "hour": [n % 24 for n in range(crops)],
            "light": None, "sequence": None, "label": names[truth], "predicted": names[predicted], "score": best,
            "true_score": scores[np.arange(crops), truth].astype(float),
            "rank": 0, "calibrated": names[predicted], "confidence": best, "automatic": best > 0.8,
            "sequence_predicted": None, "sequence_confidence": None,
        },
        schema=schemas.SCORED.columns,
    )  # fmt: skip
    parts = {
        name: Scored(
            truth[split == name],
            scores[split == name],
            np.unique(place[split == name], return_inverse=True)[1],
            labels,
            name,
        )
        for name in SPLITS
    }
    metrics = [
        {"checkpoint_id": "001-drawn", "split": name, "group_kind": "", "group_value": "", **vars(figure)}
        for name, part in parts.items()
        for figure in scorecard(part, (1, 3), 0)
    ]
    by_place = scored.group_by("split", "location").agg(
        value=(pl.col("label") == pl.col("predicted")).mean(), support=pl.len()
    )
    metrics += [
        {"checkpoint_id": "001-drawn", "group_kind": "location", "group_value": row.pop("location"), "name": "accuracy",
         "label": "", "low": None, "high": None, "reason": None, **row}
        for row in by_place.sort("split", "location").iter_rows(named=True)
    ]  # fmt: skip
    if pictures:
        _draw_pictures([crop for crop, s in zip(ids, split, strict=True) if s == "test"][:pictures], crops_dir, rng)
    values = {
        "run": "001-drawn",
        "params": {"labels": labels, "config": {"model": "drawn"}},
        "epochs": [],
        "done": {},
        "labels": labels,
        "majority": labels[0],
        "metrics": pl.DataFrame(metrics, schema=schemas.METRICS.columns),
        "crops": scored,
        "confusion": {s: confusion(truth[split == s], predicted[split == s], width) for s in SPLITS},
        "left_out": [LeftOut("without a label", None, 2, "drawn/x.jpg")],
        "fingerprint": "0123",
        "made_at": "2026-11-25 00:00 UTC",
        "versions": {"trapline": "0.1.0"},
        "crops_dir": crops_dir,
        "gallery": 24 if pictures else 0,
        "shares": pl.DataFrame({"label": labels}).with_columns(crops=1, train=0.6, val=0.2, test=0.2),
        "turns": 0,
        "seed": 0,
        "calibration": {"method": "vector", "reason": None, "fitted_on": {"split": "val", "crops": 10, "groups": 2}},
        "tables": _tables(scored, labels),
        "machine": "a drawn machine",
        "code": "0.1.0",
    }  # fmt: skip
    return Material(**(values | changes))


def _tables(scored: pl.DataFrame, labels: list[str]) -> dict[str, pl.DataFrame]:
    """reliability, thresholds and threshold_curves by plain counting."""
    right = pl.col("calibrated") == pl.col("label")
    bins = (
        scored.with_columns(bin=(pl.col("confidence") * 15).floor().clip(0, 14).cast(pl.Int64))
        .group_by("split", "bin")
        .agg(crops=pl.len().cast(pl.Int64), confidence=pl.mean("confidence"), accuracy=right.mean())
    )
    bins = bins.with_columns(low=(pl.col("accuracy") - 0.05).clip(0), high=(pl.col("accuracy") + 0.05).clip(0, 1))
    reliability = pl.concat(
        [bins.with_columns(scores=pl.lit(name), reason=pl.lit(None, pl.String)) for name in ("raw", "calibrated")]
    )
    rows, thresholds = [], []
    for split in SPLITS:
        part = scored.filter(split=split)
        for label in ("", *labels):
            own = part if label == "" else part.filter(calibrated=label)
            confidence = own["confidence"].to_numpy()
            hits = (own["calibrated"] == own["label"]).to_numpy()
            for t in range(101):
                kept = confidence >= t / 100
                rows.append((split, label, t / 100, int(kept.sum()), int((kept & hits).sum())))
            kept = confidence >= 0.8
            never = label == labels[-1]
            thresholds.append(
                {"split": split, "label": label, "wished": 0.95, "threshold": None if never or not label else 0.8,
                 "named": len(own), "kept": int(kept.sum()),
                 "precision": float(hits[kept].mean()) if kept.any() else None,
                 "coverage": float(kept.mean()) if len(own) else None, "precision_low": 0.9, "precision_high": 1.0,
                 "reason": "no threshold reaches 95%" if never else None}
            )  # fmt: skip
    curves = pl.DataFrame(rows, schema=schemas.THRESHOLD_CURVES.columns, orient="row")
    return {
        "reliability": schemas.RELIABILITY.check(reliability),
        "thresholds": pl.DataFrame(thresholds, schema=schemas.THRESHOLDS.columns),
        "threshold_curves": curves,
    }


def _draw_pictures(crop_ids: list[str], crops_dir: Path, rng: np.random.Generator) -> None:
    """Forty pictures, and every further crop one of them again (a link: fifty thousand take seconds)."""
    drawn: list[Path] = []
    for n, crop_id in enumerate(crop_ids):
        path = crops_dir / crop_id
        path.parent.mkdir(parents=True, exist_ok=True)
        if n >= 40:
            os.link(drawn[n % 40], path)
            continue
        small = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
        memory = io.BytesIO()
        small.resize((200, 150), Image.Resampling.BICUBIC).save(memory, "JPEG", quality=85)
        path.write_bytes(memory.getvalue())
        drawn.append(path)
