"""What serving costs against predicting offline, in one run; whether every answer is the same; whether memory stays.

    uv run python benchmarks/serve.py [--requests 2000] [--soak MINUTES]

A run of the demo is exported to ONNX and served by a process of its own; this process asks, --clients at a time, one
photograph and box per request. Offline is the same classifier on the same photographs, boxes and batch size, twice: by
`Answering` with a pool of threads that decodes (the same network, without HTTP), and by `trapline predict` in single
precision (the checkpoint; from files to a table on disk). Rounds take turns; the best of each is compared. Frames are
the demo's, enlarged to 3 megapixels. Every answer is compared with offline ones.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import polars as pl

from predict import frames_of  # the benchmark's neighbour
from trapline.apps.demo import SMALL, draw
from trapline.apps.export_model import export_model
from trapline.apps.init import init
from trapline.apps.predict_images import predict_images
from trapline.apps.serve.answering import Answering, open_artifact
from trapline.core.config import PredictConfig
from trapline.core.cores import usable_cores
from trapline.core.geometry import GivenBox
from trapline.core.log import Log
from trapline.core.new_images import NewImagesConfig

Request = tuple[bytes, list[float]]
TOLERANCE = 1e-4
MEMORY = re.compile(r"^process_resident_memory_bytes (\S+)", re.MULTILINE)


def offline(model: Answering, requests: list[Request], batch: int) -> tuple[np.ndarray, float]:
    """Scores of every request, and requests per second; the next batch is decoded while one is computed."""

    def crop(request: Request) -> np.ndarray:
        data, box = request
        (found,) = model.inputs(data, [GivenBox(*box, unit="fraction", frame="displayed")])
        assert isinstance(found, np.ndarray), found
        return found

    begin = time.perf_counter()
    rows, parts = [], [requests[k : k + batch] for k in range(0, len(requests), batch)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        coming = [pool.submit(crop, one) for one in parts[0]]
        for number in range(len(parts)):
            loaded = coming
            coming = [pool.submit(crop, one) for one in parts[number + 1]] if number + 1 < len(parts) else []
            rows.append(model.network(np.stack([one.result() for one in loaded])))
    return np.concatenate(rows), len(requests) / (time.perf_counter() - begin)


def predicted(checkpoint: Path, folder: Path, records: list[dict], batch: int, out: Path) -> tuple[np.ndarray, float]:
    """The same by `trapline predict`: one row per frame, and frames per second."""
    begin = time.perf_counter()
    predict_images(
        str(folder / "frames"), [out], NewImagesConfig(compare=False, precision="fp32"),
        PredictConfig(run=str(checkpoint), batch_size=batch, device="cpu"), detections=folder / "md.json", log=Log(),
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    rows = pl.read_parquet(out)
    found = dict(zip(rows["file"], rows["scores"].to_numpy(), strict=True))
    return np.stack([found[record["file"]] for record in records]), len(records) / seconds


async def ask(
    url: str, requests: list[Request], clients: int, labels: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of every request, and the seconds that each took."""
    scores, seconds = np.full((len(requests), len(labels)), np.nan), np.zeros(len(requests))
    numbers = iter(range(len(requests)))
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=clients)) as http:

        async def client() -> None:
            for number in numbers:
                data, box = requests[number]
                begin = time.perf_counter()
                files, fields = {"image": ("a.jpg", data)}, {"bbox": json.dumps(box)}
                answer = await http.post(f"{url}/predict", files=files, data=fields)
                seconds[number] = time.perf_counter() - begin
                answer.raise_for_status()
                told = answer.json()["boxes"][0]["scores"]
                scores[number] = [told[label] for label in labels]

        await asyncio.gather(*(client() for _ in range(clients)))
    return scores, seconds


def start(path: Path, batch: int) -> tuple[subprocess.Popen[str], str]:
    words = ["--model", str(path), "--port", "0", "--batch-size", str(batch), "--queue", "256"]
    command = [sys.executable, "-m", "trapline", "serve", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"(http://\S+)/predict", line):
            return process, found[1]
    raise SystemExit("the server did not start")


def memory(url: str) -> float:
    """Megabytes that the server holds."""
    found = MEMORY.search(httpx.get(f"{url}/metrics").text)
    return float(found[1]) / 1e6 if found else float("nan")


def soak(
    url: str, requests: list[Request], expected: np.ndarray, clients: int, labels: tuple[str, ...], minutes: float
):
    """Ask until the time is up; say what memory the server holds."""
    end, held, asked, worst = time.monotonic() + 60 * minutes, [], 0, 0.0
    while time.monotonic() < end:
        scores, _ = asyncio.run(ask(url, requests, clients, labels))
        asked, worst = asked + len(requests), max(worst, float(np.abs(scores - expected).max()))
        held.append(memory(url))
    first, last = np.mean(held[len(held) // 4 : len(held) // 2]), np.mean(held[-max(1, len(held) // 4) :])
    print(
        f"soak, {minutes:g} min: {asked:,} requests, greatest difference {worst:.1e}; memory {held[0]:.0f} MB first, "
        f"{first:.0f} MB in the second quarter, {last:.0f} MB in the last ({100 * (last / first - 1):+.1f}%)"
    )
    assert worst < TOLERANCE
    assert last < 1.05 * first, "memory grows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run's folder; default: one is trained on the demo")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--requests", type=int, default=2000, help="all of them compared")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="nothing but this")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = draw(folder / "drawn", size=SMALL, seed=0)
        project = init(folder / "p", [planted.annotations], str(planted.images), log=Log())
        project.run(until="split", max_failures=100)
        if asked.run is None:
            project.make("train", {"epochs": 3, "device": "cpu"}, max_failures=100)
            asked.run = next((folder / "p" / "runs").glob("*"))
        export_model(str(asked.run), "onnx", folder / "exported", project=folder, log=Log())
        path = folder / "exported" / "model.onnx"
        records = frames_of(project, planted, folder, asked.frames)
        pictures = [(folder / "frames" / one["file"]).read_bytes() for one in records]
        requests = [(data, one["detections"][0]["bbox"]) for data, one in zip(pictures, records, strict=True)]
        model = open_artifact(path)
        labels = model.artifact.labels
        expected, _ = offline(model, requests, asked.batch)
        server, url = start(path, asked.batch)
        try:
            if asked.soak:
                soak(url, requests, expected, asked.clients, labels, asked.soak)
                return
            compare(asked, model, url, requests, expected, records, folder)
        finally:
            server.terminate()
            server.wait()


def compare(asked, model: Answering, url: str, requests, expected: np.ndarray, records, folder: Path) -> None:
    checkpoint, labels = asked.run / "checkpoints" / "best.pt", model.artifact.labels
    per_round = -(-asked.requests // asked.rounds)
    many = [requests[k % len(requests)] for k in range(per_round)]
    wanted = np.stack([expected[k % len(requests)] for k in range(per_round)])
    rates: dict[str, list[float]] = {"offline": [], "predict": [], "served": []}
    took, worst, apart = [], 0.0, 0.0
    for number in range(asked.rounds):
        rates["offline"].append(offline(model, many, asked.batch)[1])
        table, rate = predicted(asked.run, folder, records, asked.batch, folder / f"{number}.parquet")
        rates["predict"].append(rate)
        apart = max(apart, float(np.abs(table - expected).max()))
        begin = time.perf_counter()
        scores, seconds = asyncio.run(ask(url, many, asked.clients, labels))
        rates["served"].append(per_round / (time.perf_counter() - begin))
        worst = max(worst, float(np.abs(scores - wanted).max()))
        took.append(seconds)
    best = {name: max(values) for name, values in rates.items()}
    times = np.concatenate(took)
    print(f"{usable_cores()} cores, {checkpoint.parent.parent.name}, batch {asked.batch}, {asked.clients} clients")
    for name, rate in best.items():
        every = ", ".join(f"{value:.1f}" for value in rates[name])
        print(f"{name}: {rate:.1f} photographs/s ({every}); served is {best['served'] / rate:.2f} of it")
    print(f"a request: p50 {1000 * np.median(times):.0f} ms, p99 {1000 * np.quantile(times, 0.99):.0f} ms")
    print(f"{len(times):,} answers, the greatest difference from offline {worst:.1e}; of predict from that {apart:.1e}")
    print(f"memory of the server {memory(url):.0f} MB")
    assert max(worst, apart) < TOLERANCE


if __name__ == "__main__":
    main()
