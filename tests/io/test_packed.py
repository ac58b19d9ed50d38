"""Pieces in tar files with an index, in a folder and in a bucket (moto)."""

import pickle
import tarfile

import boto3
import pytest

from misbehaving import jpeg
from trapline.core.config import FetchConfig
from trapline.core.errors import TraplineError
from trapline.io import packed
from trapline.io.away import Objects
from trapline.io.packed import Packed
from trapline.io.places import Folder

NAMES = [f"islands/cam 1/á {'long ' * 30}{n}.JPG___crop00.jpg" for n in range(6)]
BUCKET = "trapline-packed"


@pytest.fixture(params=["folder", "bucket"])
def under(request, tmp_path, moto, monkeypatch):
    if request.param == "folder":
        return Folder(tmp_path / "crops")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    boto3.client("s3", endpoint_url=moto, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    return Objects(f"s3://{BUCKET}/{tmp_path.name}", FetchConfig(endpoint=moto)).inside("crops")


def elsewhere(place):
    """The same place as another process opens it: nothing is known of it there."""
    packed._shelves.clear()
    return pickle.loads(pickle.dumps(place))


def filled(under):
    """Six pieces in two packs."""
    place = Packed(under)
    for n, name in enumerate(NAMES):
        place.write(name, jpeg(n))
    place.sync(NAMES[:4])
    place.sync(NAMES[4:])
    return place


def test_pieces_come_back_here_and_elsewhere(under):
    place = filled(under)
    for seen in (place, elsewhere(place)):
        assert [seen.read(name) for name in NAMES] == [jpeg(n) for n in range(6)]
        state = seen.state([*NAMES, "none"])
        assert state["file_bytes"].to_list() == [*(len(jpeg(n)) for n in range(6)), None]
        assert state["file_tag"].n_unique() == 7
        with pytest.raises(FileNotFoundError):
            seen.read("none")
    assert len(under.names("pack-*.tar")) == 2


def test_any_reader_of_tar_files_opens_a_pack(under, tmp_path):
    filled(under)
    found = {}
    for n, name in enumerate(under.names("pack-*.tar")):
        (tmp_path / f"{n}.tar").write_bytes(under.read(name))
        with tarfile.open(tmp_path / f"{n}.tar") as pack:
            found |= {member.name: pack.extractfile(member).read() for member in pack}  # type: ignore[union-attr]
    assert found == {name: jpeg(n) for n, name in enumerate(NAMES)}


def test_what_another_process_packs_is_found(under):
    here = filled(under)._shelf
    here.refreshed()
    assert here.read(NAMES[0]) == jpeg(0)
    there = elsewhere(Packed(under))
    there.write("new", b"n", sync=True)
    assert here.read("new") == b"n"


def test_what_was_not_synced_is_not_there(under):
    place = Packed(under)
    place.write(NAMES[0], jpeg(0))
    assert place.read(NAMES[0]) == jpeg(0)
    assert elsewhere(place).state(NAMES[:1])["file_bytes"].to_list() == [None]


def test_a_kill_between_pack_and_index_leaves_nothing_that_counts(under, monkeypatch):
    place = Packed(under)
    place.write(NAMES[0], jpeg(0))

    def killed(self, name, rows):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(packed._Shelf, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            place.sync(NAMES[:1])
    assert len(under.names("pack-*.tar")) == 1
    place = elsewhere(place)
    assert place.state(NAMES[:1])["file_bytes"].to_list() == [None]
    place.settle()
    assert under.names("*") == []


def test_the_newest_of_a_name_counts_and_dead_packs_go(under):
    place = elsewhere(filled(under))
    before = place.state(NAMES)
    for n, name in enumerate(NAMES[:4]):
        place.write(name, jpeg(10 + n))
    place.sync(NAMES[:4])
    place.write(NAMES[0], jpeg(0))  # and one back again
    place.sync(NAMES[:1])
    for seen in (place, elsewhere(place)):
        assert [seen.read(name) for name in NAMES] == [jpeg(n) for n in (0, 11, 12, 13, 4, 5)]
        assert [was == now for was, now in zip(before.rows(), seen.state(NAMES).rows(), strict=True)] == [
            True, False, False, False, True, True,
        ]  # fmt: skip
    assert len(under.names("pack-*.tar")) == 4
    place.settle()
    assert len(under.names("pack-*.tar")) == 3
    assert [elsewhere(place).read(name) for name in NAMES] == [jpeg(n) for n in (0, 11, 12, 13, 4, 5)]


def test_many_indexes_become_one(under, monkeypatch):
    monkeypatch.setattr(packed, "MAX_INDEXES", 3)
    place = filled(under)
    place.remove(NAMES[2])
    place.remove("none")
    for seen in (place, elsewhere(place)):
        assert seen.state(NAMES[2:3])["file_bytes"].to_list() == [None]
        with pytest.raises(FileNotFoundError):
            seen.read(NAMES[2])
    place.write("another", b"a")
    place.sync(["another"])
    assert len(under.names("*.parquet")) == 4
    place.settle()
    assert len(under.names("*.parquet")) == 1
    for seen in (place, elsewhere(place)):
        assert seen.state([*NAMES, "another"])["file_bytes"].is_null().to_list() == [n == 2 for n in range(7)]
        assert seen.read(NAMES[3]) == jpeg(3)
        with pytest.raises(FileNotFoundError):
            seen.read(NAMES[2])


def test_a_pack_or_index_that_is_gone_takes_only_its_own_pieces(under):
    place = filled(under)
    first, second = under.names("pack-*.tar")
    lost = [name for name in NAMES if place._shelf._find(name)[0] == first]  # type: ignore[index]
    under.remove(first)
    assert [name for name, size in zip(NAMES, place.state(NAMES)["file_bytes"], strict=True) if size is None] == lost
    index = f"{second.removesuffix('.tar')}.parquet"
    under.write(index, b"PAR1 torn")
    assert elsewhere(place).state(NAMES)["file_bytes"].null_count() == 6


def test_many_packs_are_read_with_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "OPEN_FILES", 2)
    place = Packed(Folder(tmp_path))
    for n, name in enumerate(NAMES):
        place.write(name, jpeg(n), sync=True)
    place = elsewhere(place)
    assert [place.read(name) for name in [*NAMES, *NAMES]] == [jpeg(n) for n in [*range(6), *range(6)]]
    assert len(place._shelf._files) == 2


def test_a_full_disk_is_told_and_the_pieces_stay_unpacked(tmp_path, monkeypatch):
    place = Packed(Folder(tmp_path))
    place.write(NAMES[0], jpeg(0))

    def full(self, name, data, *, sync=False):
        raise TraplineError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", full)
        with pytest.raises(TraplineError, match="full"):
            place.sync(NAMES[:1])
    place.sync(NAMES[:1])
    assert elsewhere(place).read(NAMES[0]) == jpeg(0)
