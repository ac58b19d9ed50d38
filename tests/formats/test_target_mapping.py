import pytest

from trapline.core.errors import InputError
from trapline.formats import target_mapping


def test_targets_keep_their_order(tmp_path):
    (tmp_path / "m.json").write_text('{"fox": ["red_fox"], "deer": ["elk", "mule_deer"], "other": []}')
    assert list(target_mapping.read(tmp_path / "m.json").items()) == [
        ("fox", ["red_fox"]),
        ("deer", ["elk", "mule_deer"]),
        ("other", []),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{torn", "is not a target mapping"),
        ('{"deer": "elk"}', "is not a target mapping: Expected `array`"),
        ("{}", "names no target"),
        ('{"": ["elk"]}', "without a name"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match=words):
        target_mapping.read(tmp_path / "m.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        target_mapping.read(tmp_path / "none.json")
