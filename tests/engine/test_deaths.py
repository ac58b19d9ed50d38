"""A picture that kills the process that reads it costs itself, and nothing else."""

import os
import subprocess
import sys
from functools import partial

import polars as pl

import works
from trapline.core.log import Log
from trapline.engine.local import LOCAL

KILLED = """
import sys
from functools import partial
from pathlib import Path
import works
from trapline.engine.local import LOCAL
works.doubled(partial(works.Doubling, Path(sys.argv[1]), **{sys.argv[3]: "r6"}), LOCAL, Path(sys.argv[2]))
"""


def die(tmp_path, seen, how):
    """Run the work in a process that dies of r6."""
    path = os.pathsep.join(folder for folder in sys.path if folder)
    command = [sys.executable, "-c", KILLED, str(seen), str(tmp_path), how]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode == -9


def test_a_row_that_kills_its_process_is_a_failure_and_the_rest_goes_on(tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()
    die(tmp_path, seen, "deadly")
    log = Log()
    found = works.doubled(partial(works.Doubling, seen, deadly="r6"), LOCAL, tmp_path, log=log)
    assert any("an earlier run ended while it worked on 4 rows" in note for note in log.notes)
    assert found.filter(pl.col("id") != "r6")["twice"].to_list() == [2 * i for i in range(12) if i != 6]
    (reason,) = found.filter(pl.col("id") == "r6")["failure"]
    assert reason == "the process that reads it dies (signal 9, SIGKILL; tried 3 times)"
    assert not list((tmp_path / "parts").glob("flight-*"))
    tried = (seen / "r6").read_text()
    works.doubled(partial(works.Doubling, seen, deadly="r6"), LOCAL, tmp_path)
    assert (seen / "r6").read_text() == tried  # a failure is a result


def test_what_a_killed_process_worked_on_is_done_if_nothing_was_wrong_with_it(tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()
    die(tmp_path, seen, "once")
    found = works.doubled(partial(works.Doubling, seen, once="r6"), LOCAL, tmp_path)
    assert found["twice"].to_list() == [2 * i for i in range(12)]
    assert found["failure"].null_count() == 12
    before = {name: (seen / name).read_text() for name in ("r0", "r11")}
    works.doubled(partial(works.Doubling, seen), LOCAL, tmp_path)
    assert {name: (seen / name).read_text() for name in ("r0", "r11")} == before


def test_an_error_or_a_stop_is_no_death(tmp_path):
    log = Log()
    seen = tmp_path / "seen"  # missing: each part ends with an error
    try:
        works.doubled(partial(works.Doubling, seen), LOCAL, tmp_path)
    except FileNotFoundError:
        seen.mkdir()
    works.doubled(partial(works.Doubling, seen), LOCAL, tmp_path, log=log)
    assert log.notes == []
