import errno
import os
import subprocess
import sys

import pytest

from trapline.core.errors import TraplineError
from trapline.io import atomic


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_appears_whole(tmp_path):
    atomic.replace_text(tmp_path / "new" / "a.txt", "grüße")
    assert files(tmp_path / "new") == {"a.txt": "grüße".encode()}


@pytest.mark.parametrize("error", [ValueError("half-way"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file(tmp_path, error):
    atomic.replace_text(tmp_path / "a.txt", "old")

    def write(stream):
        stream.write(b"new, but only half of")
        raise error

    with pytest.raises(type(error)):
        atomic.replace(tmp_path / "a.txt", write)
    assert files(tmp_path) == {"a.txt": b"old"}


def test_a_kill_leaves_the_old_file(tmp_path):
    atomic.replace_text(tmp_path / "a.txt", "old")
    program = (
        "import os, sys, pathlib; from trapline.io import atomic\n"
        "def write(stream): stream.write(b'x' * 100_000); stream.flush(); os.kill(os.getpid(), 9)\n"
        "atomic.replace(pathlib.Path(sys.argv[1]), write)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.txt"], check=False)
    assert done.returncode == -9
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_a_refusing_disk_is_explained(tmp_path, number, remedy):
    atomic.replace_text(tmp_path / "a.txt", "old")

    def write(stream):
        stream.write(b"new")
        raise OSError(number, os.strerror(number))

    with pytest.raises(TraplineError, match=f"cannot write {tmp_path}/a.txt: {remedy}"):
        atomic.replace(tmp_path / "a.txt", write)
    assert files(tmp_path) == {"a.txt": b"old"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(small_disk):
    atomic.replace_text(small_disk / "a.txt", "old")
    with pytest.raises(TraplineError, match="the disk is full"):
        atomic.replace_text(small_disk / "a.txt", "x" * 200_000)
    assert files(small_disk) == {"a.txt": b"old"}
    atomic.replace_text(small_disk / "a.txt", "y" * 20_000)  # the failed attempt holds no space


def test_a_file_where_a_folder_should_be(tmp_path):
    atomic.replace_text(tmp_path / "a", "a file")
    with pytest.raises(TraplineError, match="a file stands where a folder is needed"):
        atomic.replace_text(tmp_path / "a" / "b.txt", "x")
