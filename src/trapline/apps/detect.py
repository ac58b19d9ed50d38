"""trapline detect: run the MegaDetector that the user installed, resumed after a kill; predict takes its file."""

import os
import subprocess
import sys
from pathlib import Path

from trapline.core.errors import InputError, TraplineError
from trapline.core.log import Log
from trapline.formats import megadetector
from trapline.io.pictures import pictures

PROGRAM = "megadetector.detection.run_detector_batch"
EVERY = 200  # images between its checkpoints
INSTALL = """It is not part of trapline, since it pins packages of its own. In an environment of its own:
  python3 -m venv megadetector-env
  megadetector-env/bin/pip install megadetector
and then
  trapline detect --images DIR --out md.json --python megadetector-env/bin/python"""


def detect(
    images: Path,
    out: Path,
    *,
    model: str = "MDV5A",
    threshold: float | None = None,
    python: Path | None = None,
    log: Log,
) -> None:
    """Detect in every picture of a folder and below, and write a results file.

    Killed and started again, it goes on where it wrote its last checkpoint.

    Args:
        model: A detector's file, or a name that MegaDetector downloads (MDV5A).
        threshold: Least confidence that is kept. Default: MegaDetector's own.
        python: The interpreter of the environment that MegaDetector is installed in. Default: trapline's own.

    Raises:
        InputError: There is no such folder, no picture in it, or no MegaDetector.
        TraplineError: MegaDetector failed, or wrote nothing of use.
    """
    if not images.is_dir():
        raise InputError(f"there is no folder {images}. Name the one that the images lie in: --images DIR")
    if not any(True for _ in pictures(images)):
        raise InputError(f"there is no picture in {images} or below it.")
    interpreter = str(python) if python is not None else sys.executable
    _require(interpreter)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = out.with_name(f"{out.name}.checkpoint.json")
    command = [
        interpreter, "-m", PROGRAM, model, str(images), str(out), "--recursive", "--output_relative_filenames",
        "--include_image_timestamp", "--include_image_size", "--checkpoint_frequency", str(EVERY),
        "--checkpoint_path", str(checkpoint), "--allow_checkpoint_overwrite",
    ]  # fmt: skip
    if threshold is not None:
        command += ["--threshold", str(threshold)]
    if checkpoint.exists():
        log.note(f"goes on from {checkpoint}")
        command += ["--resume_from_checkpoint", str(checkpoint)]
    found = subprocess.run(command, check=False)
    if found.returncode:
        kept = f" The same command goes on from {checkpoint}." if checkpoint.exists() else ""
        raise TraplineError(f"MegaDetector ended with exit code {found.returncode}; what it said is above.{kept}")
    results = megadetector.read(out)
    checkpoint.unlink(missing_ok=True)
    failed = results.images["failure"].count()
    images_with = results.detections["file"].n_unique()
    log.account(
        "images", results.images.height, "with a detection", images_with,
        {"without": results.images.height - images_with - failed, "that could not be read": failed},
    )  # fmt: skip
    log.note(f"wrote {out}; next: trapline predict --run RUN --images {images} --detections {out} --out OUT.json")


def _require(interpreter: str) -> None:
    """Raise unless MegaDetector can be run there."""
    try:
        found = subprocess.run(
            [interpreter, "-c", f"import importlib; importlib.import_module({PROGRAM!r})"],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
    except OSError as error:
        raise InputError(
            f"{interpreter} cannot be run ({error.strerror}). --python names a Python interpreter."
        ) from None
    if found.returncode:
        said = (found.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"MegaDetector is not installed for {interpreter} ({said}). {INSTALL}")
