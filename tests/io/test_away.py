"""Pieces as objects, against a real S3 server (moto) and one that misbehaves."""

import pickle

import boto3
import polars as pl
import pytest

from misbehaving import jpeg, md5, misbehaving
from trapline.core.config import FetchConfig
from trapline.core.errors import StoreRefused, TraplineError
from trapline.io import away, ledger, places
from trapline.io.away import Objects
from trapline.io.images import ImageFailure
from trapline.io.ledger import FINGERPRINT, Parts
from trapline.io.model_input import Transform, load_for_evaluation
from trapline.io.places import Folder

BUCKET = "trapline-away"
ODD = [f"islands/cam 1/á #%41?+&{n}.JPG___crop00.jpg" for n in range(5)]


@pytest.fixture(scope="module")
def place(moto, aws):
    boto3.client("s3", endpoint_url=moto, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    return Objects(f"s3://{BUCKET}/a project", FetchConfig(endpoint=moto))


def test_pieces_of_any_name_come_back(place):
    place = pickle.loads(pickle.dumps(place.inside("odd/names")))
    for n, name in enumerate(ODD):
        place.write(name, jpeg(n))
    assert [place.read(name) for name in ODD] == [jpeg(n) for n in range(5)]
    assert place.read_range(ODD[3], 100, 50) == jpeg(3)[100:150]
    assert dict(places.read_all(place, [*ODD, "none"])) == {
        **dict(zip(ODD, map(jpeg, range(5)), strict=True)),
        "none": None,
    }
    with pytest.raises(FileNotFoundError):
        place.read("islands/none.jpg")
    with pytest.raises(ImageFailure, match="file is missing"):
        load_for_evaluation(place.source("islands/none.jpg"), Transform(16))
    seen = load_for_evaluation(place.source(ODD[1]), Transform(16))
    assert (seen == load_for_evaluation(jpeg(1), Transform(16))).all()


@pytest.mark.parametrize("few", [0, 200])
def test_the_state_tells_contents_apart(place, monkeypatch, few):
    """Asked for one by one, and listed in steps of two."""
    monkeypatch.setattr(away, "FEW", few)
    monkeypatch.setattr(away, "LISTED_AT_ONCE", 2)
    monkeypatch.setattr(away, "ANSWERED", 2)
    place = place.inside(f"state{few}")
    for n, name in enumerate(ODD):
        place.write(name, jpeg(n))
    names = [*reversed(ODD), "elsewhere/none.jpg", "top"]
    place.write("top", b"t")
    found = place.state(names)
    assert found["file_bytes"].to_list() == [*(len(jpeg(n)) for n in reversed(range(5))), None, 1]
    assert [(tag or "").strip('"') for tag in found["file_tag"][:5]] == [md5(jpeg(n)) for n in reversed(range(5))]
    place.write(ODD[0], jpeg(7))
    place.remove(ODD[1])
    place.remove(ODD[1])
    again = place.state(names)["file_tag"].to_list()
    assert [n for n, (was, now) in enumerate(zip(found["file_tag"], again, strict=True)) if was != now] == [3, 4]


@pytest.mark.parametrize("gathered", [8, 256])
def test_parts_are_the_same_in_a_bucket_as_in_a_folder(place, tmp_path, monkeypatch, gathered):
    """Committed, merged on the way, read, forgotten, and merged in the end."""
    monkeypatch.setattr(ledger, "GATHERED", gathered)
    kinds = Parts(tmp_path), Parts(place.inside(f"tables/{gathered}"))
    every = pl.DataFrame({"k": range(40), FINGERPRINT: [f"p{n}" for n in range(40)]})
    for parts in kinds:
        assert parts.read() is None
        for start in range(0, 40, 1):
            parts.commit(every.slice(start, 1))
        assert parts.forget(pl.col("k").is_in([3, 4])) == 2
    (tmp_path / "part-torn.parquet").write_bytes(b"PAR1")
    place.inside(f"tables/{gathered}").write("part-torn.parquet", b"PAR1")
    kept = every.filter(~pl.col("k").is_in([3, 4]))
    for parts in kinds:
        some = parts.read(every.head(10))
        assert some is not None
        assert some.sort("k").equals(kept.head(8))
        parts.settle(kept)
        whole = parts.read()
        assert whole is not None
        assert whole.equals(kept)
    names = Folder(tmp_path).names("*")
    assert len(names) == 1
    assert place.inside(f"tables/{gathered}").names("*") == names


def test_a_large_file_goes_and_comes_whole(place, tmp_path):
    source, back = tmp_path / "last.pt", tmp_path / "back" / "last.pt"
    source.write_bytes(jpeg(1) * 1600)  # several parts of an upload
    assert source.stat().st_size > 10_000_000
    place.send("last.pt", source)
    place.bring("last.pt", back)
    assert back.read_bytes() == source.read_bytes()
    with pytest.raises(FileNotFoundError):
        place.bring("best.pt", back.with_name("best.pt"))
    assert [path.name for path in back.parent.iterdir()] == ["last.pt"]


def test_a_bucket_that_is_not_there_names_the_setting(place):
    nowhere = Objects("s3://trapline-nowhere/x", place.cfg)
    for call in (lambda: nowhere.write("a", b""), lambda: nowhere.read("a"), lambda: nowhere.names("*")):
        with pytest.raises(StoreRefused, match="there is no such bucket\\. Check `storage:` in"):
            call()


def test_a_store_that_fails_now_ends_the_stage_and_is_no_missing_picture(monkeypatch):
    """Were it a row's failure, the row would be done, and the crop never looked at again."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with misbehaving() as server:
        server.objects = {"bucket/pre/a.jpg": jpeg(0), "bucket/pre/b.jpg": jpeg(1)}
        server.faults = {"bucket/pre/a.jpg": "503", "bucket/pre/b.jpg": ["500", "503"]}
        cfg = FetchConfig(endpoint=server.url, budget_s=60)
        assert Objects("s3://bucket/pre", cfg).read("b.jpg") == jpeg(1)
        place = Objects("s3://bucket/pre", cfg.model_copy(update={"budget_s": 1.0}))
        with pytest.raises(TraplineError, match=r"cannot read s3://bucket/pre/a.jpg: .*finished work is kept"):
            load_for_evaluation(place.source("a.jpg"), Transform(16))
