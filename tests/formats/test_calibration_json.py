import json

import numpy as np
import pytest

from trapline.core import calibration
from trapline.core.calibration import Calibration
from trapline.core.errors import InputError
from trapline.formats import calibration_json

LABELS = ["bobcat", "größte\u2028<b>", "deer"]
KNOWN = Calibration(
    LABELS, "vector", None, np.array([0.5, 1.25, 2.0]), np.array([0.0, -0.1, 0.3]), 1.4, 412, 11,
    {"raw": 0.6, "temperature": 0.5, "vector": 0.45}, 0.95, {LABELS[0]: 0.8, LABELS[1]: None, LABELS[2]: 0.0},
    {LABELS[1]: "only 3 val crops"},
)  # fmt: skip


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "calibration.json"
    calibration_json.write(path, KNOWN)
    found = calibration_json.read(path, LABELS)
    scores = np.array([[0.2, 0.3, 0.5], [0, 0, 1]], np.float32)
    assert calibration.apply(found, scores).tolist() == calibration.apply(KNOWN, scores).tolist()
    assert calibration.thresholds_of(found).tolist() == [0.8, np.inf, 0.0]
    assert (found.method, found.temperature, found.crops, found.groups) == ("vector", 1.4, 412, 11)
    before = path.read_bytes()
    calibration_json.write(path, found)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is of version 2"),
        ({"labels": ["deer", "bobcat", "x"]}, "is of other labels"),
        ({"scale": [1.0]}, "has not one scale and one offset per label"),
        ({"offset": "torn"}, r"is not a calibration\.json"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    path = tmp_path / "calibration.json"
    calibration_json.write(path, KNOWN)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        calibration_json.read(path, LABELS)


def test_a_missing_or_torn_file_says_what_to_do(tmp_path):
    path = tmp_path / "calibration.json"
    with pytest.raises(InputError, match=r"is missing\. `trapline evaluate` makes it"):
        calibration_json.read(path, LABELS)
    path.write_text('{"version": 1, "lab')
    with pytest.raises(InputError, match=r"is not a calibration\.json"):
        calibration_json.read(path, LABELS)
