import threading

import polars as pl
import pytest

from trapline.core.log import Log
from trapline.engine.local import LOCAL
from trapline.engine.mapping import PartlyDone, Work, map_rows, with_fingerprints
from trapline.io.ledger import FINGERPRINT, MAX_PARTS, Parts


class Calling(Work):
    """A work that calls functions of a test."""

    def __init__(self, function, stop=lambda: None):
        self.function, self.told = function, stop

    def __call__(self, rows):
        return self.function(rows)

    def failed(self, rows, reason):
        raise AssertionError(reason)

    def stop(self):
        self.told()


class Doubling:
    """Doubles numbers, and remembers which it was asked for."""

    def __init__(self, folder, fail_at=None):
        self.parts = Parts(folder)
        self.asked = []
        self.fail_at = fail_at
        self.bar = []
        self.lock = threading.Lock()

    def double(self, rows):
        with self.lock:
            self.asked += rows["id"].to_list()
        if self.fail_at is not None and self.fail_at in rows["id"].to_list():
            raise self.fail
        return rows.select("id", twice=pl.col("number") * 2)

    fail: BaseException = RuntimeError("power cut")

    def run(self, rows, *, config=None, workers=1, part_rows=2, stop=lambda: None, **kwargs):
        self.asked = []
        self.parts = Parts(self.parts.folder)
        return map_rows(
            lambda: Calling(self.double, stop),
            rows,
            engine=LOCAL,
            key="id",
            config=config or {"version": 1},
            parts=self.parts,
            part_rows=part_rows,
            log=Log(),
            what="numbers doubled",
            workers=workers,
            **kwargs,
        )


def rows(n=10, **changed):
    names = [f"r{i}" for i in range(n)]
    return pl.DataFrame({"id": names, "number": [changed.get(name, i) for i, name in enumerate(names)]})


def doubled(frame):
    return frame.select("id", twice=pl.col("number") * 2)


@pytest.fixture
def work(tmp_path):
    return Doubling(tmp_path / "parts")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("part_rows", [1, 3, 100])
def test_all_rows_in_their_order(work, workers, part_rows):
    shuffled = rows().sample(fraction=1, shuffle=True, seed=3)
    assert work.run(shuffled, workers=workers, part_rows=part_rows).equals(doubled(shuffled))
    assert sorted(work.asked) == sorted(shuffled["id"])
    assert work.run(shuffled).equals(doubled(shuffled))
    assert work.asked == []


@pytest.mark.parametrize("error", [RuntimeError("power cut"), KeyboardInterrupt()])
@pytest.mark.parametrize("workers", [1, 4])
def test_after_a_break_only_what_is_missing_runs(work, error, workers):
    work.fail_at, work.fail = "r6", error
    with pytest.raises(type(error)):
        work.run(rows(), workers=workers)
    done = work.parts.read()
    finished = set() if done is None else set(done["id"])
    assert not finished & {"r6", "r7"}
    if workers == 1:  # one part may have been waiting in line
        assert {"r0", "r1", "r2", "r3", "r4", "r5"} <= finished
    work.fail_at = None
    assert work.run(rows()).equals(doubled(rows()))
    assert sorted(work.asked) == sorted(set(rows()["id"]) - finished)


def test_one_changed_row_runs_alone(work):
    work.run(rows())
    changed = rows(r4=99)
    assert work.run(changed).equals(doubled(changed))
    assert work.asked == ["r4"]
    assert work.parts.read().height == 10  # what is out of date is gone


def test_new_and_removed_rows(work):
    work.run(rows())
    assert work.run(rows(12)).equals(doubled(rows(12)))
    assert work.asked == ["r10", "r11"]
    assert work.run(rows(3)).equals(doubled(rows(3)))
    assert work.asked == []
    assert work.parts.read().height == 3


def test_a_changed_config_runs_all(work):
    work.run(rows())
    work.run(rows(), config={"version": 2})
    assert len(work.asked) == 10


def test_a_torn_part_runs_again(work):
    work.run(rows())
    part = sorted(work.parts.folder.iterdir())[2]
    part.write_bytes(part.read_bytes()[:100])
    assert work.run(rows()).equals(doubled(rows()))
    assert len(work.asked) == 2
    assert work.run(rows()).equals(doubled(rows()))
    assert work.asked == []


def test_outputs_that_no_longer_stand_run_again(work):
    work.run(rows())
    lost = {"r3", "r8"}
    found = work.run(rows(), still_good=lambda done: ~done["id"].is_in(list(lost)))
    assert found.equals(doubled(rows()))
    assert sorted(work.asked) == ["r3", "r8"]
    assert work.parts.read().height == 10


def test_many_parts_are_merged(work):
    many = rows(3 * MAX_PARTS)
    work.run(many, part_rows=1)
    assert len(list(work.parts.folder.iterdir())) == 1
    assert work.run(many).equals(doubled(many))
    assert work.asked == []


def test_settings_that_change_the_columns(work):
    """Another backbone gives vectors of another width; the old parts lie in the same folder."""

    def vectors(width):
        return lambda part: part.select(
            "id", v=pl.Series([[1.0] * width] * part.height, dtype=pl.Array(pl.Float32, width))
        )

    for width in (2, 3, 3, 2):
        work.double = vectors(width)
        found = work.run(rows(), config={"width": width})
        assert found.schema["v"] == pl.Array(pl.Float32, width)
        assert found.height == 10


@pytest.mark.parametrize("n", [4, 3000])
def test_several_outputs_per_row(work, n):
    work.double = lambda part: pl.concat([part.select("id", n=pl.lit(k)) for k in range(3)]).sort("id", "n")
    found = work.run(rows(n), part_rows=3, workers=3)
    assert found.rows() == [(f"r{i}", k) for i in range(n) for k in range(3)]


def test_no_rows(work):
    assert work.run(rows(0)).rows() == []
    assert work.run(rows(0)).columns == ["id", "twice"]
    work.run(rows(3))
    assert work.run(rows(0)).height == 0


def test_progress_reaches_the_end(work):
    class Bar(Log):
        from contextlib import contextmanager

        total = done = 0

        @contextmanager
        def progress(self, what, total, unit=""):
            Bar.total += total

            def advance(n=1, info=""):
                Bar.done += n

            yield advance

    map_rows(
        lambda: Calling(work.double), rows(), engine=LOCAL, key="id", config={}, parts=work.parts, part_rows=3,
        log=Bar(), what="numbers", workers=3,
    )  # fmt: skip
    assert (Bar.total, Bar.done) == (10, 10)


def test_fingerprints_depend_on_row_and_config_alone():
    first = with_fingerprints(rows(), {"a": 1, "b": 2})[FINGERPRINT]
    assert first.n_unique() == 10
    assert with_fingerprints(rows().reverse(), {"b": 2, "a": 1})[FINGERPRINT].reverse().equals(first)
    assert not set(first) & set(with_fingerprints(rows(), {"a": 1, "b": 3})[FINGERPRINT])


def test_rows_left_out_have_their_turn_again(work):
    double = work.double
    work.double = lambda part: double(part).filter(pl.col("id") != "r3")
    assert work.run(rows()).equals(doubled(rows()).filter(pl.col("id") != "r3"))
    work.double = double
    assert work.run(rows()).equals(doubled(rows()))
    assert work.asked == ["r3"]


def test_a_part_that_ends_early_keeps_what_it_did(work):
    double = work.double

    def half(part):
        done = double(part)
        if "r5" in done["id"].to_list():
            raise PartlyDone(done.filter(pl.col("id") != "r5"), OSError("the disk is full"))
        return done

    work.double = half
    with pytest.raises(OSError, match="the disk is full"):
        work.run(rows(), part_rows=4)
    work.double = double
    assert work.run(rows(), part_rows=4).equals(doubled(rows()))
    assert "r4" not in work.asked
    assert "r5" in work.asked


def test_the_others_are_told_to_stop(work):
    stopped = threading.Event()

    def wait(part):
        if "r0" in part["id"].to_list():
            raise OSError("broken")
        stopped.wait(20)
        return work.parts.read() or doubled(part)

    work.double = wait
    with pytest.raises(OSError, match="broken"):
        work.run(rows(), workers=3, stop=stopped.set)
    assert stopped.is_set()
