"""Evaluate at a million: metrics, intervals, calibration, thresholds, sequences, files and report, timed and weighed.

    uv run python benchmarks/evaluate.py [--crops 1000000] [--labels 200] [--locations 1000]

Drawn: predictions of a middling classifier (a label's scores lean to its crops, each location has its own ease), bursts
of three, splits 0.6/0.2/0.2 by location. The aim: 60 s and 4 GB on two cores. With --baseline, in the same run,
scikit-learn's own average precision of every label on the test crops.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from trapline.core import schemas
from trapline.core.config import EvaluateConfig
from trapline.core.log import Log
from trapline.stages.evaluate import evaluate

DAY_S = 86_400


def drawn(
    crops: int, labels: int, locations: int, *, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, list[str]]:
    """PREDICTIONS, EXAMPLES and SPLITS rows, and the labels.

    Args:
        crops: In bursts of three of one label at one location.
        labels: Their frequencies fall geometrically to a hundredth.
        locations: Of unequal size; 0.6 train, 0.2 val, 0.2 test. A tenth of the train crops is held back.
    """
    rng = np.random.default_rng(seed)
    names = [f"species {n:03d}" for n in range(labels)]
    frequency = np.geomspace(1, 0.01, labels)
    sizes = np.exp(rng.normal(0, 1, locations))
    bursts = -(-crops // 3)
    place = np.sort(rng.choice(locations, bursts, p=sizes / sizes.sum()))
    label = rng.choice(labels, bursts, p=frequency / frequency.sum())
    place, label = np.repeat(place, 3)[:crops], np.repeat(label, 3)[:crops]
    burst = np.repeat(np.arange(bursts), 3)[:crops]
    ease = 9 + rng.normal(0, 1.0, locations)
    scores = rng.standard_normal((crops, labels), dtype=np.float32)
    scores *= 2
    for start in range(0, crops, 65_536):  # in pieces: an (n, L) temporary would double the memory
        part = scores[start : start + 65_536]
        rows = np.arange(len(part))
        part[rows, label[start : start + 65_536]] += rng.normal(ease[place[start : start + 65_536]], 3)
        part -= part.max(1, keepdims=True)
        np.exp(part, out=part)
        part /= part.sum(1, keepdims=True)
    crop_id = pl.select(pl.format("d/{}/{}.jpg___crop00.jpg", pl.Series(place), pl.int_range(crops)))[:, 0]
    groups = pl.select(pl.format("place {}", pl.Series(place)))[:, 0]
    seconds = (burst % DAY_S).astype(np.int64) + 1_700_000_000
    examples = pl.DataFrame(
        {
            "crop_id": crop_id,
            "labels": pl.Series(names)[label].reshape((-1, 1)).arr.to_list(),
            "image_id": crop_id,
            "dataset": pl.repeat("d", crops, eager=True),
            "location_id": groups,
            "camera_id": groups,
            "deployment_id": groups,
            "infrared": pl.Series(burst % 2 == 0),
            "group_id": groups,
            "sequence_id": pl.select(pl.format("burst {}", pl.Series(burst)))[:, 0],
            "captured_at": pl.Series(seconds * 1_000_000).cast(schemas.TIME),
            "weight": pl.repeat(1.0, crops, eager=True),
            "heldback": pl.Series(burst % 10 == 0),
        }
    )
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(locations) % 5]
    splits = pl.DataFrame(
        {"group_id": [f"place {n}" for n in range(locations)], "split": split, "fold": [None] * locations},
        schema=schemas.SPLITS.columns,
    )
    predictions = pl.DataFrame(
        {"crop_id": crop_id, "scores": scores, "failure": pl.Series([None], dtype=pl.String).new_from_index(0, crops)}
    )
    return predictions, schemas.EXAMPLES.check(examples), splits, names


def main() -> None:
    """Draw, evaluate, print the clock and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--crops", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--locations", type=int, default=1_000)
    parser.add_argument("--baseline", action="store_true", help="time scikit-learn's average precision too")
    args = parser.parse_args()
    predictions, examples, splits, names = drawn(args.crops, args.labels, args.locations)
    print(f"drawn: {predictions.height:,} crops x {len(names)} labels; peak {peak_mb():,} MB")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "001-drawn"
        run.mkdir()
        (run / "params.json").write_text(json.dumps({"labels": names}))
        wall, cpu = time.perf_counter(), time.process_time()
        evaluate(predictions, examples, splits, EvaluateConfig(), run_dir=run, crops_dir=Path(folder), log=Log())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"evaluate: {wall:.1f} s, CPU {cpu:.1f} s, peak {peak_mb():,} MB (aim: 60 s, 4,000 MB)")
        for path in sorted(run.iterdir()):
            print(f"  {path.name:26} {path.stat().st_size / 1e6:10,.2f} MB")
    if args.baseline:
        from sklearn.metrics import average_precision_score

        chosen = examples.with_row_index().join(splits, on="group_id").filter(pl.col("split") == "test")["index"]
        scores = predictions["scores"].to_numpy()[chosen.to_numpy()]
        truth = examples["labels"].list.first().gather(chosen).to_numpy()
        wall = time.perf_counter()
        for n, name in enumerate(names):
            average_precision_score(truth == name, scores[:, n])
        print(f"scikit-learn's average precision alone, test crops only: {time.perf_counter() - wall:.1f} s")


def peak_mb() -> int:
    """Most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
