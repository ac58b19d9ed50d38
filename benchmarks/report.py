"""The report's part of evaluate at a million: time and size of report.html and model_card.md, beside an empty page.

    uv run python benchmarks/report.py [--crops 400000] [--labels 200] [--pictures 3000]

Drawn as tests/reports.py draws; half of the crops are test, of which a million split 0.6/0.2/0.2 has 200,000. The
page's bound is 15 MB at 100 labels and 50,000 crops. `benchmarks/evaluate.py` times the whole of evaluate.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reports import draw_material
from trapline.report import card, page


def main() -> None:
    """Draw, render, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--crops", type=int, default=400_000)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=3_000)
    args = parser.parse_args()
    labels = [f"a species with a long name {n:03d}" for n in range(args.labels)]
    with tempfile.TemporaryDirectory() as folder:
        material = draw_material(labels, args.crops, Path(folder), locations=400, pictures=args.pictures)
        print(f"{args.crops // 2:,} test crops x {args.labels} labels, {args.pictures:,} pictures at hand")
        for name, render in (("report.html", page.render), ("model_card.md", card.render)):
            wall, cpu = time.perf_counter(), time.process_time()
            text = render(material)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{name:14} {wall:6.1f} s, CPU {cpu:6.1f} s, {len(text.encode()) / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()
