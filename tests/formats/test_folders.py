from pathlib import Path

import pytest

from trapline.core.errors import InputError
from trapline.formats import folders

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def tree(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def test_a_folder_per_label(tmp_path):
    got = folders.read(tree(tmp_path, "fox/1.jpg", "fox/2.JPG", "skunk/1.jpg", "fox/notes.txt", ".cache/x/1.jpg"))
    assert got.objects.select("image", "source_label").rows() == [
        ("fox/1.jpg", "fox"),
        ("fox/2.JPG", "fox"),
        ("skunk/1.jpg", "skunk"),
    ]
    assert "folders were read as label: 2 labels (labels fox, skunk)" in got.notes[0]


@pytest.mark.parametrize(
    ("paths", "pattern"),
    [
        (["A/fox/1.jpg", "B/fox/1.jpg", "B/owl/1.jpg", "C/owl/2.jpg"], "location/label"),
        (["A/fox/1.jpg", "B/fox/1.jpg"], "location/label"),
        (["fox/a/1.jpg", "fox/b/1.jpg", "owl/c/1.jpg"], "label"),  # sub-folders that mean nothing
        (["fox/1.jpg", "owl/1.jpg"], "label"),
    ],
)
def test_which_folder_is_the_label_is_told_by_what_comes_again(paths, pattern):
    assert folders.guess(sorted(paths)) == pattern


def test_a_pattern_overrules_the_guess(tmp_path):
    tree(tmp_path, "2024/A/fox/1.jpg", "2024/B/owl/1.jpg", "loose.jpg")
    got = folders.read(tmp_path, "*/location/label")
    assert got.images.select("file_name", "location").rows() == [("2024/A/fox/1.jpg", "A"), ("2024/B/owl/1.jpg", "B")]
    assert "1 images lie in no such folder and are left out (first: loose.jpg)" in got.notes[1]


@pytest.mark.parametrize("pattern", ["location", "label/label", "species/label", "label/location/location"])
def test_patterns_that_make_no_sense(tmp_path, pattern):
    with pytest.raises(InputError, match="makes no sense"):
        folders.read(tree(tmp_path, "a/b/c/1.jpg"), pattern)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        folders.read(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        folders.read(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no image of .* lies 1 folders deep"):
        folders.read(tree(tmp_path, "1.jpg"))


def test_camtrapr_stations():
    root = DATA / "sabah_thumbnails" / "sample_images_species_dir"
    if not root.exists():
        pytest.skip("the development data are absent: no sabah_thumbnails beside the checkout")
    got = folders.read(root)
    assert sorted(got.images["location"].unique()) == ["StationA", "StationB", "StationC"]
    assert set(got.objects["source_label"]) == {"PBE", "TRA", "MNE", "EGY", "VTA", "UNID"}
    assert got.images.height == 68
