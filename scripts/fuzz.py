"""Feed the parsers with a coverage-guided fuzzer (atheris), each for some minutes in a process of its own.

    uv run --group fuzz python scripts/fuzz.py [PARSER ...] [--seconds 600]

A parser may refuse a file (InputError) and nothing else: any other exception, a hang of 30 s or more than 3 GB of
memory ends its run, prints the traceback, leaves the input in the folder named, and makes the exit code 1. The parsers
are those of tests/fuzzing.py; their valid files are what the fuzzer starts from.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
CHILD = "--in-this-process"
WORDS = ("{", "}", "[", "]", ",", ":", "null", "true", "-1", "1e308", ".5", "..", "/", "\\x0a", "},", "]}")


def fuzz(name: str, folder: Path, seconds: int) -> None:
    """Run the fuzzer in this process; it ends the process."""
    import atheris

    sys.path.insert(0, str(TESTS))
    with atheris.instrument_imports(include=["trapline"]):
        import fuzzing
    suffix, seeds = fuzzing.PARSERS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    keys = set()
    for number, text in enumerate(seeds()):
        (corpus / str(number)).write_text(text)
        keys |= set(re.findall(r'"[^"\\]{1,40}"', text))
    words = [*WORDS, *sorted(keys)]
    (folder / "words").write_text("".join('"{}"\n'.format(word.replace('"', '\\"')) for word in words))
    path = folder / f"input{suffix}"
    counts = {True: 0, False: 0}

    def one(data: bytes) -> None:
        path.write_bytes(data)
        counts[fuzzing.check(path)] += 1
        if sum(counts.values()) % 1000 == 0:
            (folder / "counts").write_text(f"{counts[True]:,} read, {counts[False]:,} refused")

    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=3000", "-timeout=30", "-max_len=20000"]
    files = [f"-dict={folder / 'words'}", f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)]

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """Half of the time libFuzzer's own changes of bytes, else a change of the JSON value that leaves it JSON."""
        chance = random.Random(seed)
        try:
            changed = fuzzing.changed(json.loads(data), chance) if chance.random() < 0.5 else None
        except (ValueError, RecursionError):
            changed = None
        text = json.dumps(changed, indent=chance.choice([None, 4])).encode() if changed is not None else b""
        return text if 0 < len(text) <= most else atheris.Mutate(data, most)

    mutator = {"custom_mutator": mutate} if suffix == ".json" else {}
    atheris.Setup([sys.argv[0], *limits, *files], one, **mutator)
    atheris.Fuzz()


def main() -> None:
    if sys.argv[1:2] == [CHILD]:  # nothing may be imported before the fuzzer watches imports
        fuzz(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    sys.path.insert(0, str(TESTS))
    from fuzzing import PARSERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parsers", nargs="*", choices=[*PARSERS, []], metavar="PARSER", help=", ".join(PARSERS))
    parser.add_argument("--seconds", type=int, default=600, help="for each parser")
    args = parser.parse_args()
    failed = []
    for name in args.parsers or PARSERS:
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
        command = [sys.executable, __file__, CHILD, name, str(folder), str(args.seconds)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        counts = (folder / "counts").read_text() if (folder / "counts").exists() else "fewer than 1,000 inputs"
        runs = re.findall(r"stat::number_of_executed_units: *(\d+)", result.stderr) or ["?"]
        peak = re.findall(r"stat::peak_rss_mb: *(\d+)", result.stderr) or ["?"]
        covered = re.findall(r" cov: (\d+)", result.stderr) or ["?"]
        print(
            f"{name}: {runs[-1]} inputs in {args.seconds} s ({counts}), {covered[0]} -> {covered[-1]} branches, peak "
            f"{peak[-1]} MB: {'nothing found' if not result.returncode else 'FAILED'}",
            flush=True,
        )
        if result.returncode:
            failed.append(name)
            print(f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}\nits input is in {folder}", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
