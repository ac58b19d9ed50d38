"""Every parser gives tables that hold together, or an InputError, whatever it is fed.

What CI feeds is the same every time; `just soak` looks for new faults.
"""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import PARSERS, check, variants
from trapline.core.config import IngestConfig
from trapline.core.log import Log
from trapline.stages.ingest import AnnotationFile, ingest

QUIETLY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
MANY = 100_000
SHARDS = 4  # of the soak test, which then takes all cores


def feed(path: Path, name: str, examples: int, *, the_same: bool = True) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIETLY, database=None, derandomize=the_same)
    @given(text=variants(name))
    def fed(text):
        path.write_text(text, errors="surrogatepass")
        check(path)

    fed()


@pytest.mark.parametrize("name", PARSERS)
def test_valid_files_are_read(tmp_path, name):
    suffix, seeds = PARSERS[name]
    for n, text in enumerate(seeds()):
        path = tmp_path / f"{n}{suffix}"
        path.write_text(text)
        assert check(path)


@pytest.mark.parametrize("name", PARSERS)
def test_variants_of_valid_files(tmp_path, name):
    feed(tmp_path / f"variant{PARSERS[name][0]}", name, 150)


def test_a_detection_and_an_image_can_be_left_out_for_a_reason_of_one_name(tmp_path):
    """Fuzzing found it: a detection without a box, and the label `empty` of an image without one."""
    images = [{"file": "x", "detections": [{"category": "1", "conf": 0.9}]}, {"file": "a.jpg", "detections": None}]
    info = {"format_version": 1.2, "detector": "cct_to_md"}
    path = tmp_path / "md.json"
    path.write_text(json.dumps({"info": info, "detection_categories": {"1": "fox"}, "images": images}))
    log = Log()
    ingest([AnnotationFile("islands", path)], IngestConfig(empty_labels=()), log=log)
    assert "2 annotations -> 0 boxes; left out 2 without a box" in map(str, log.accounts)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_two_thousand_variants(tmp_path, name):
    feed(tmp_path / f"variant{PARSERS[name][0]}", name, 2_000)


@pytest.mark.soak
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("name", PARSERS)
def test_a_hundred_thousand_variants(tmp_path, name, shard):
    feed(tmp_path / f"variant{PARSERS[name][0]}", name, MANY // SHARDS, the_same=False)


@settings(max_examples=150, deadline=None, suppress_health_check=QUIETLY, derandomize=True)
@given(data=st.binary(max_size=300))
def test_any_bytes(tmp_path, data):
    for name, (suffix, _) in PARSERS.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(data)
        check(path)
