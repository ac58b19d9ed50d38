import contextlib

import pytest
import ruamel.yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from trapline.core.config import (
    CropConfig,
    DatasetConfig,
    DatasetSource,
    IngestConfig,
    ProjectConfig,
    SplitConfig,
    TrainConfig,
)
from trapline.core.errors import InputError
from trapline.io import project_file
from trapline.io.project_file import read, set_values, write_new

ISLANDS = ProjectConfig(datasets={"islands": DatasetSource(annotations=("export.json",), images="/photos/2024")})


@pytest.fixture
def path(tmp_path):
    write_new(tmp_path / "trapline.yaml", ISLANDS)
    return tmp_path / "trapline.yaml"


def refused(path, text):
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_what_is_written_is_read(path):
    assert read(path) == ISLANDS


def test_every_field_stands_there_with_its_comment(path):
    text = path.read_text()
    content = ruamel.yaml.YAML(typ="safe").load(text)
    for name, field in ProjectConfig.model_fields.items():
        section = field.default
        if isinstance(section, BaseModel) and type(section).model_fields:
            assert list(content[name]) == list(type(section).model_fields)
            for sub in type(section).model_fields.values():
                assert f"  # {sub.description}".splitlines()[0] in text


NAMES = st.text(min_size=1).filter(str.strip)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        ProjectConfig,
        datasets=st.dictionaries(
            st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z"),
            st.builds(DatasetSource, annotations=st.lists(st.text(), min_size=1).map(tuple), images=st.none() | NAMES),
            min_size=1,
            max_size=1,
        ),
        ingest=st.builds(IngestConfig, empty_labels=st.lists(NAMES, max_size=3).map(tuple)),
        crop=st.builds(CropConfig, style=st.sampled_from(["square", "tight"]), quality=st.integers(1, 100)),
        dataset=st.builds(DatasetConfig, label_map=st.dictionaries(st.text(), NAMES, max_size=3)),
        split=st.builds(SplitConfig, val_frac=st.floats(0, 0.4), seed=st.integers()),
        train=st.builds(TrainConfig, model=st.text(), lr=st.floats(1e-9, 10), image_size=st.none() | st.just(64)),
    )
)
def test_any_configuration_survives_the_file(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("p") / "trapline.yaml"
    write_new(path, config)
    assert read(path) == config


def test_a_missing_project_names_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"no trapline project here: .* does not exist. Make one with `trapline init"):
        read(tmp_path / "trapline.yaml")


def test_every_problem_is_listed_and_typos_are_guessed(path):
    message = refused(
        path,
        """
datasets:
  islands: {annotations: [export.json], image: photos}
splits: {seed: 1}
split: {val_frak: 0.3, seed: x}
train: {epochs: -1, zzz: 1}
max_failures: -1
""",
    )
    assert message.splitlines()[0] == f"{path} has 7 problems:"
    for line in (
        "datasets.islands.image: no such field; did you mean images?",
        "splits: no such field; did you mean split?",
        "split.val_frak: no such field; did you mean val_frac?",
        "split.seed: input should be a valid integer, unable to parse string as an integer (got 'x')",
        "train.epochs: input should be greater than or equal to 0 (got -1)",
        "train.zzz: no such field",
        "max_failures: input should be greater than or equal to 0 (got -1)",
    ):
        assert f"  - {line}" in message.splitlines()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no settings"),
        ("just words", "holds no settings"),
        ("- a list", "holds no settings"),
        ("split: {seed: 1}", "datasets: field required"),
        ("datasets: {a: {annotations: [x]}}\nsplit: {seed: 1", "is not valid YAML at line 2"),
        ("a: b: c", "is not valid YAML at line 1"),
        ("datasets: {a: {annotations: [x]}}\ndatasets: {}", "duplicate key"),
        ("a: \t@", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("datasets: {a: {annotations: [x]}}\ntrain: {model: 2024-13-45}", "YAML cannot read"),
        ("[" * 1000, "YAML cannot read"),
        ("1: 2", "1: keys should be strings"),
        ("datasets: {a: {annotations: [x]}}\nsplit: {val_frac: 0.6, test_frac: 0.4}", "leave nothing for train"),
    ],
)
def test_bad_yaml_is_explained(path, text, words):
    message = refused(path, text)
    assert words in message
    assert str(path) in message


def test_bytes_that_are_no_text(path):
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match="cannot be read"):
        read(path)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    write_new(path, ISLANDS)
    lines = path.read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        n = data.draw(st.integers(0, len(lines) - 1))
        at = data.draw(st.integers(0, len(lines[n])))
        odd = data.draw(
            st.sampled_from([":", "-", "[", "{", '"', "'", "#", "\t", "&", "*", "!", "null", " 1e9", "%", "\0"])
        )
        lines[n] = lines[n][:at] + odd + lines[n][at + data.draw(st.integers(0, 3)) :]
    path.write_text("\n".join(lines))
    with contextlib.suppress(InputError):
        assert isinstance(read(path), ProjectConfig)


def test_setting_values_keeps_the_rest(path):
    text = path.read_text().replace("split:\n", "split:\n  # ours: agreed with Ada\n")
    path.write_text(text)
    set_values(path, "split", {"seed": 7, "val_frac": 0.25})
    set_values(path, "dataset", {"exclude": ("person", "vehicle")})
    changed = read(path)
    assert (changed.split.seed, changed.split.val_frac, changed.dataset.exclude) == (7, 0.25, ("person", "vehicle"))
    old, new = text.splitlines(), path.read_text().splitlines()
    comments = [line.strip() for line in old if "#" in line]
    assert [line.strip() for line in new if "#" in line] == comments
    assert changed.model_copy(update={"split": ISLANDS.split, "dataset": ISLANDS.dataset}) == ISLANDS


@pytest.mark.parametrize("section", ["", "split:\n", "split: {}\n"])
def test_setting_values_makes_the_section(path, section):
    path.write_text("# mine\ndatasets: {a: {annotations: [x]}}\n" + section)
    set_values(path, "split", {"seed": 3})
    assert read(path).split.seed == 3
    assert path.read_text().startswith("# mine\n")


def test_scalars_that_look_like_something_else(tmp_path):
    for value in (
        "true",
        "No",
        "null",
        "-1",
        "_1",
        "1e5",
        "0x1f",
        "2024-01-01",
        "~",
        "a: b",
        "# x",
        " x ",
        "-",
        "12:30",
    ):
        write_new(tmp_path / "t.yaml", ISLANDS.model_copy(update={"train": TrainConfig(model=value)}))
        assert project_file.read(tmp_path / "t.yaml").train.model == value
