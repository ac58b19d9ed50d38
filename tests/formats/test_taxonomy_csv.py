import pytest

from trapline.core.errors import InputError
from trapline.formats import taxonomy_csv


def test_levels_of_labels_without_blank_cells(tmp_path):
    path = tmp_path / "taxonomy.csv"
    path.write_text("\ufefflabel, family,genus\ncoyote,Canidae,Canis\n bird ,,\ntruck\n", "utf-8")
    assert taxonomy_csv.read(path) == {"family": {"coyote": "Canidae"}, "genus": {"coyote": "Canis"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("species,family\ncoyote,Canidae\n", "it needs `label` and at least one level"),
        ("label\ncoyote\n", "it needs `label` and at least one level"),
        ("label,family\ncoyote,Canidae\ncoyote,Felidae\n", r"names 1 label\(s\) more than once \(first: coyote\)"),
        ("", "cannot be read"),
    ],
)
def test_what_is_no_taxonomy_is_refused(tmp_path, text, message):
    path = tmp_path / "taxonomy.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        taxonomy_csv.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        taxonomy_csv.read(tmp_path / "none.csv")
