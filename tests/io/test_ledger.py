import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.core.errors import LockHeld, TraplineError
from trapline.io import tables
from trapline.io.ledger import (
    AT_A_TIME,
    FINGERPRINT,
    GATHERED,
    MAX_PARTS,
    Parts,
    Record,
    Records,
    file_digest,
    fingerprint,
    fingerprint_rows,
    lock,
)
from trapline.io.places import Folder


def rows(*names):
    return pl.DataFrame({"id": list(names), FINGERPRINT: [f"print-{name}" for name in names]})


def committed(parts, wanted=None):
    found = parts.read(wanted)
    return None if found is None else sorted(found["id"].to_list())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_a_fingerprint_does_not_depend_on_order(value):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))
    assert fingerprint(value) != fingerprint({**value, "one more": 1, "two more": 2})


def test_fingerprints_tell_values_apart():
    values = [1, "1", 1.5, None, [], {}, [1], ["1"], True, "", "a b", ["a", "b"]]
    assert len({fingerprint(value) for value in values}) == len(values)


def test_file_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 300_000)
    (tmp_path / "b").write_bytes(b"x" * 300_000)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c") == "missing"


def test_records_come_back(tmp_path):
    records = Records(tmp_path / "records")
    assert records.read("split") is None
    record = Record(stage="split", version=1, inputs={"examples": "abc"}, config={"seed": 1}, warnings=["rare"])
    records.write(record)
    found = records.read("split")
    assert found is not None
    assert found == record
    assert found.made_at.endswith("+00:00")
    records.forget("split")
    records.forget("split")
    assert records.read("split") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "split"}', "\0" * 40])
def test_a_torn_record_means_not_done(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    assert Records(tmp_path).read("split") is None


def test_parts_add_up(tmp_path):
    parts = Parts(tmp_path / "crop")
    assert parts.read() is None
    parts.commit(rows("a", "b"))
    parts.commit(rows("c"))
    parts.commit(rows("c"))
    assert committed(parts) == ["a", "b", "c"]


@pytest.mark.parametrize("torn", [b"", b"PAR1", b"not parquet at all", None])
def test_a_torn_part_is_not_done(tmp_path, torn):
    parts = Parts(tmp_path)
    parts.commit(rows("a"))
    parts.commit(rows("b"))
    path = tmp_path / f"part-{fingerprint(['print-b'])}.parquet"
    path.write_bytes(path.read_bytes()[:-20] if torn is None else torn)
    (tmp_path / "part-x.parquet.partial123").write_bytes(b"left by a kill")
    assert committed(parts) == ["a"]
    parts.settle(rows("a"))
    assert not path.exists()
    assert committed(Parts(tmp_path)) == ["a"]


def test_parts_of_other_settings_do_not_disturb(tmp_path):
    """Embeddings of another model have another width; a foreign table has other columns."""
    parts = Parts(tmp_path)
    two = rows("a").with_columns(v=pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float32, 2)))
    three = rows("b").with_columns(v=pl.Series([[1.0, 2.0, 3.0]], dtype=pl.Array(pl.Float32, 3)))
    parts.commit(two)
    parts.commit(three)
    tables.save(tmp_path / "part-foreign.parquet", pl.DataFrame({"x": [1]}))
    found = parts.read(rows("b", "c"))
    assert found is not None
    assert found.equals(three)


def test_forgotten_rows_are_not_done(tmp_path):
    parts = Parts(tmp_path)
    parts.commit(rows("a", "b"))
    parts.commit(rows("c"))
    assert parts.forget(pl.col("id").is_in(["b", "c", "d"])) == 2
    assert committed(parts) == ["a"]
    assert parts.forget(pl.col("id") == "b") == 0


def test_settle_merges_small_parts(tmp_path):
    parts = Parts(tmp_path)
    names = [f"{n:02d}" for n in range(MAX_PARTS + 8)]
    for name in names:
        parts.commit(rows(name))
    parts.settle(rows(*names))
    assert len(list(tmp_path.glob("part-*.parquet"))) == 1
    assert committed(parts) == names


def test_parts_are_few_while_there_are_more_to_come(tmp_path):
    """A million images are 16,000 parts: whoever goes on after a kill reads what is there."""
    parts = Parts(tmp_path)
    names = [f"{n:04d}" for n in range(2 * GATHERED + 5)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: parts.commit(rows(name)), names))
    assert len(list(tmp_path.iterdir())) == 2 + 5
    assert committed(Parts(tmp_path)) == names


def test_a_merge_broken_off_doubles_nothing(tmp_path, monkeypatch):
    parts = Parts(tmp_path)
    names = [f"{n:04d}" for n in range(GATHERED)]
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "remove", lambda place, name: (_ for _ in ()).throw(KeyboardInterrupt))
        for name in names[:-1]:
            parts.commit(rows(name))
        with pytest.raises(KeyboardInterrupt):
            parts.commit(rows(names[-1]))
    assert len(list(tmp_path.iterdir())) == GATHERED + 1
    assert committed(Parts(tmp_path)) == names
    wanted = rows(*names[3:])
    assert committed(Parts(tmp_path), wanted) == names[3:]


def test_settle_drops_what_is_out_of_date(tmp_path):
    parts = Parts(tmp_path)
    parts.commit(rows("a", "b"))
    parts.commit(rows("c"))
    parts.settle(rows("b", "c"))
    assert committed(parts) == ["b", "c"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    parts.settle(rows("b", "c"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    parts.settle(rows())
    assert committed(parts) is None


def test_settle_keeps_the_old_parts_until_the_new_are_there(tmp_path, monkeypatch):
    parts = Parts(tmp_path)
    parts.commit(rows("a", "b"))
    parts.commit(rows("c"))

    def full(place, name, data, *, sync=False):
        raise TraplineError("the disk is full")

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(TraplineError, match="full"):
        parts.settle(rows("a", "c"))
    assert committed(parts) == ["a", "b", "c"]


HOLDER = """
import sys, pathlib
from trapline.io.ledger import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_kept_out(tmp_path):
    path = tmp_path / ".trapline" / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockHeld, match=rf"at work in {tmp_path} \(process {holder.pid} on "), lock(path):
            pass
    finally:
        holder.kill()  # not even a clean end is needed to free it
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    with lock(path):
        pass
    with lock(path):
        pass


def test_a_lock_where_nothing_can_be_written(tmp_path):
    (tmp_path / ".trapline").write_text("a file")
    with pytest.raises(TraplineError, match="cannot write"), lock(tmp_path / ".trapline" / "lock"):
        pass


@pytest.mark.parametrize("height", [0, 1, AT_A_TIME, AT_A_TIME + 1])
def test_rows_have_the_fingerprint_of_their_list(height):
    frame = pl.DataFrame({"id": range(height)}).with_columns(text=pl.format("é{}", "id"), none=pl.lit(None))
    assert fingerprint_rows(frame) == fingerprint(frame.rows())
