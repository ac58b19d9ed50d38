# Everyday commands; each is one line that also works typed by hand. The test command itself is `uv run pytest`.

# The default suite: CPU, no network, minutes.
test:
    uv run pytest

# Everything CI runs.
ci:
    bash .ci/run

# Style, types, layers.
lint:
    uv run ruff check .
    uv run ruff format --check .
    uv run pyright
    uv run lint-imports --no-cache

# Benchmarks print ratios against a plain baseline measured in the same run.
bench:
    uv run python benchmarks/split.py
    uv run python benchmarks/ingest.py
    uv run python benchmarks/coverage.py
    uv run python benchmarks/crop.py
    uv run python benchmarks/crop_parity.py
    uv run python benchmarks/demo_difficulty.py
    uv run python benchmarks/fetch.py
    uv run python benchmarks/inspection.py
    uv run python benchmarks/report.py
    uv run python benchmarks/serve.py

# Tests that take minutes; part of CI.
slow:
    uv run pytest -m slow

# Parsers under 100,000 hypothesis examples and ten minutes of a coverage-guided fuzzer each, a server's memory over ten
# minutes: most of an hour.
soak:
    uv run pytest -m soak --dist load
    uv run python benchmarks/serve.py --soak 10
    uv run --group fuzz python scripts/fuzz.py --seconds 600

# Refresh the tested versions in pyproject.toml from what is installed.
pin:
    uv run python scripts/pin.py
