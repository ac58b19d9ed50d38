import pytest

from trapline.core.errors import InputError
from trapline.formats import image_csv


@pytest.fixture
def read(tmp_path):
    def run(text):
        (tmp_path / "labels.csv").write_text(text)
        return image_csv.read(tmp_path / "labels.csv")

    return run


def test_the_shortest_list(read):
    got = read("path,label\na.jpg,fox\n./b.jpg,\nc\\d.jpg,skunk\na.jpg,night\n")
    assert got.images["file_name"].to_list() == ["a.jpg", "b.jpg", "c/d.jpg"]
    assert got.objects.select("image", "source_label", "box_x").rows() == [
        ("a.jpg", "fox", None),
        ("c/d.jpg", "skunk", None),
        ("a.jpg", "night", None),
    ]
    assert got.notes == ()


def test_columns_are_known_by_the_names_that_others_give_them(read):
    got = read(
        "FileName,Scientific Name,Site,DateTimeOriginal,Lat,Lon\na.jpg,Vulpes vulpes,007,2024:01:13 07:46:00,1.5,-2\n"
    )
    assert got.images.select("file_name", "location", "captured", "latitude", "longitude").rows() == [
        ("a.jpg", "007", "2024:01:13 07:46:00", 1.5, -2.0)
    ]
    assert got.objects["source_label"].to_list() == ["Vulpes vulpes"]
    assert "Scientific Name as label" in got.notes[0]


def test_a_path_is_preferred_to_a_bare_name(read):
    """animl-py's lists have both, and absolute paths of somebody else's disk."""
    got = read("filepath,filename,class\n/home/k/set/Dog/1.jpg,1.jpg,Dog\n/home/k/set/Cat/1.jpg,1.jpg,Cat\n")
    assert got.images["file_name"].to_list() == ["Dog/1.jpg", "Cat/1.jpg"]
    assert any("relative to the folder they share, /home/k/set" in note for note in got.notes)


def test_boxes_need_their_unit(read):
    got = read("path,label,box_x,box_y,box_w,box_h,unit\na.jpg,fox,1,2,3,4,px\na.jpg,fox,,,,,\n")
    assert got.objects.select("box_x", "box_h", "unit", "frame", "source").rows() == [
        (1.0, 4.0, "px", "auto", "human"),
        (None, None, "fraction", "auto", "human"),
    ]
    with pytest.raises(InputError, match="line 2: a box without a unit; add a column `unit`"):
        read("path,label,box_x,box_y,box_w,box_h\na.jpg,fox,1,2,3,4\n")
    with pytest.raises(InputError, match="a box needs the four columns"):
        read("path,label,box_x,unit\na.jpg,fox,1,px\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no column of paths or of labels, only a, b"),
        ("path,label\n,fox\n", "line 2: no path"),
        ("path,label,conf\na.jpg,fox,high\n", "line 2: conf 'high' is no number"),
        ("path,label\na,b,c\n", "is not a CSV table"),
        ("", "is not a CSV table"),
    ],
)
def test_what_cannot_be_read_says_where(read, text, says):
    with pytest.raises(InputError, match=says):
        read(text)
