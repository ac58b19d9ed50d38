import os
from pathlib import Path

import polars as pl
import pytest

from trapline.core.errors import InputError
from trapline.core.log import Log
from trapline.core.schemas import FILES, IMAGES
from trapline.stages.fetch import fetch, stamp

NAMES = ["cam1/a.jpg", "cam1/b.jpg", "cam2/c [1].jpg"]


def images(*names, dataset="is"):
    rows = [{"image_id": f"{dataset}/{n}", "dataset": dataset, "file_name": name} for n, name in enumerate(names)]
    return pl.DataFrame(rows, schema=IMAGES.columns)


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)


def test_files_are_found_where_they_lie(tmp_path):
    put(tmp_path / "images/is", *NAMES)
    log = Log()
    files = fetch(images(*NAMES), {"is": Path("images/is")}, root=tmp_path, log=log)
    told = files.select("image_id", "path", "bytes", "failure").rows()
    assert told == [(f"is/{n}", f"images/is/{name}", 10, None) for n, name in enumerate(NAMES)]
    assert FILES.check(files)["checksum"].null_count() == 0
    assert [str(account) for account in log.accounts] == ["3 images -> 3 files"]
    outside = fetch(images(*NAMES), {"is": tmp_path / "images/is"}, root=tmp_path / "project", log=log)
    assert outside["path"][0] == f"{tmp_path.as_posix()}/images/is/cam1/a.jpg"


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    """The old download gave up at the first error and still said that all was well."""
    put(tmp_path, NAMES[1])
    log = Log()
    files = fetch(images(*NAMES), {"is": tmp_path}, root=tmp_path, log=log)
    assert files["failure"].to_list() == ["not on disk", None, "not on disk"]
    assert [str(account) for account in log.accounts] == ["3 images -> 1 files; left out 2 not on disk"]
    assert log.warnings == [f"2 of 3 images are not on disk (first: {tmp_path.as_posix()}/cam1/a.jpg)."]


def test_all_absent_folders_are_listed(tmp_path):
    both = pl.concat([images("a.jpg"), images("a.jpg", dataset="other")])
    with pytest.raises(
        InputError, match="Say where the images lie: `trapline init --images FOLDER`, or `images:`"
    ) as caught:
        fetch(both, {"is": Path("no"), "other": Path("nope")}, root=tmp_path, log=Log())
    assert caught.value.problems == ("is: no", "other: nope")


@pytest.mark.parametrize(
    ("lies_in", "looked_in"),
    [("photos", "photos/cam1"), ("photos/2024", "photos"), ("photos", "other"), ("photos/x", "photos/y")],
)
def test_a_folder_that_is_one_off_is_guessed(tmp_path, lies_in, looked_in):
    put(tmp_path / lies_in, *NAMES)
    (tmp_path / looked_in).mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError) as caught:
        fetch(images(*NAMES), {"is": Path(looked_in)}, root=tmp_path, log=Log())
    folder = tmp_path / looked_in
    assert str(caught.value) == (
        f"none of the 3 images of dataset is lies in {folder} (first looked for: {folder}/cam1/a.jpg). "
        f"They seem to lie in {tmp_path / lies_in}: give that, by --images or in trapline.yaml."
    )


def test_other_folders_between_are_told(tmp_path):
    put(tmp_path / "photos", "2024/deep/down/a.jpg")
    with pytest.raises(InputError, match=r"A file of that name is .*2024/deep/down/a.jpg: the folders between differ"):
        fetch(images("cam1/a.jpg"), {"is": Path("photos")}, root=tmp_path, log=Log())


def test_nothing_like_it_anywhere(tmp_path):
    put(tmp_path / "photos", "z.jpg")
    with pytest.raises(InputError, match=r"Set `images:` in trapline.yaml to the folder that file_name is relative to"):
        fetch(images("cam1/[a*?.jpg"), {"is": Path("photos")}, root=tmp_path, log=Log())


def test_the_stamp_changes_with_the_files(tmp_path):
    put(tmp_path, *NAMES)
    listed, folders = images(*NAMES), {"is": tmp_path}
    before = stamp(listed, folders, root=tmp_path)
    assert stamp(listed, folders, root=tmp_path) == before
    os.utime(tmp_path / NAMES[0], ns=(1, 1))
    (tmp_path / NAMES[1]).unlink()
    after = stamp(listed, folders, root=tmp_path)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]
    files = fetch(listed, folders, root=tmp_path, log=Log())
    assert files["checksum"].to_list() == after
