import pytest

from trapline.core.errors import InputError
from trapline.formats import corrections

HEADER = "image_id,box_id,action,from,to,who,when\n"


def read(tmp_path, text):
    (tmp_path / "corrections.csv").write_text(text)
    return corrections.read(tmp_path / "corrections.csv").rows()


def test_the_last_row_of_a_box_wins(tmp_path):
    assert read(
        tmp_path,
        HEADER
        + "i1,b1,relabel,fox,skunk,Ada,2024-06-01T10:00:00+00:00\n"
        + "i2,b2,exclude,fox,,Ada,2024-06-01T10:01:00+00:00\n"
        + 'i1,b1,relabel,skunk,"fox, red",Bo,2024-06-02T10:00:00+00:00\n'
        + "i3,b3,unsure,fox,,Ada,\n",
    ) == [("b2", "exclude", None, "Ada"), ("b1", "relabel", "fox, red", "Bo"), ("b3", "unsure", None, "Ada")]


@pytest.mark.parametrize("text", [None, "", HEADER])
def test_no_decisions(tmp_path, text):
    if text is not None:
        (tmp_path / "corrections.csv").write_text(text)
    found = corrections.read(tmp_path / "corrections.csv")
    assert found.columns == ["box_id", "action", "to", "who"]
    assert found.is_empty()


def test_every_line_that_cannot_be_applied_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, HEADER + "i,b1,delete,,,,\ni,b2,accept,,,,\ni,b3,relabel,fox, ,,\ni,b4,,,,,\n")
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/corrections.csv holds 3 lines that cannot be applied:",
        "  - line 2: action 'delete' is none of accept, relabel, exclude, unsure, undo",
        "  - line 5: action None is none of accept, relabel, exclude, unsure, undo",
        "  - line 4: relabel without a label in `to`",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "box,action\n1,accept\n",
            "lacks the columns box_id, to; its header is image_id,box_id,action,from,to,who,when",
        ),
        (HEADER + "a,b,c,d,e,f,g,h,i,j\n", "is not a CSV table"),
        (HEADER + 'i,"b1,accept,,,,\n', "corrections.csv"),
    ],
)
def test_not_a_table_of_decisions(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, text)
