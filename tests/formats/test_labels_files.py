"""Label maps, label specifications and locations.csv as files."""

import json

import pytest

from trapline.core.errors import InputError
from trapline.formats import label_map, label_spec, locations_csv

TAXONOMY = """dataset,dataset_label,class,order,family
is,fox,mammalia,carnivora,canidae
is,coyote,Mammalia,Carnivora,Canidae
is,bobcat,mammalia,carnivora,felidae
far,zorro,mammalia,carnivora,canidae
far,crow,aves,passeriformes,corvidae
"""
JSON = {
    "canid": {"taxa": [{"level": "family", "name": "Canidae"}], "exclude": {"dataset_labels": {"is": ["coyote"]}}},
    "cat": {"dataset_labels": {"is": ["bobcat"]}, "max_count": 50, "prioritize": [["is"], ["far"]]},
    "bird": {"taxa": [{"level": "class", "name": "aves", "datasets": ["far"]}]},
}
CSV = """output_label,type,content
canid,family,canidae
!canid,row,is|coyote
cat,row,is|bobcat
cat,max_count,50
cat,prioritize,"[['is'], ['far']]"
bird,datasettaxon,far|class|aves
"""


@pytest.fixture
def taxonomy(tmp_path):
    path = tmp_path / "taxonomy.csv"
    path.write_text(TAXONOMY)
    return path


@pytest.mark.parametrize(("name", "text"), [("spec.json", json.dumps(JSON)), ("spec.csv", CSV)])
def test_both_spellings_of_a_specification(tmp_path, taxonomy, name, text):
    (tmp_path / name).write_text(text)
    rules = label_spec.read(tmp_path / name, taxonomy)
    assert rules.closed
    assert sorted(rules.table.select("dataset", "source_label", "label").rows()) == [
        ("far", "crow", "bird"),
        ("far", "zorro", "canid"),
        ("is", "bobcat", "cat"),
        ("is", "fox", "canid"),
    ]
    assert rules.max_count == {"cat": 50}
    assert rules.prioritize == {"cat": (("is",), ("far",))}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"a": {"dataset_labels": {"is": ["fox"]}}, "b": {"dataset_labels": {"is": ["fox"]}}},
            "fox of is is selected for",
        ),
        ({"a": {"taxa": [{"level": "genus", "name": "vulpes"}]}}, "no level 'genus', only class, order, family"),
        ({"a": {"taxa": [{"level": "class", "name": "reptilia"}]}}, "no label of the taxonomy is of class reptilia"),
        ({"a": {"dataset_labels": {}}}, "a: selects no source label"),
    ],
)
def test_what_a_specification_gets_wrong(tmp_path, taxonomy, spec, problem):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    with pytest.raises(InputError, match=problem):
        label_spec.read(path, taxonomy)


def test_taxa_need_a_taxonomy_and_lines_are_named(tmp_path):
    path = tmp_path / "spec.csv"
    path.write_text("output_label,type,content\na,family,canidae\n")
    with pytest.raises(InputError, match="needs a --taxonomy"):
        label_spec.read(path, None)
    path.write_text("output_label,type,content\na,row,fox\na,max_count,many\n")
    with pytest.raises(InputError, match="2 problem") as failure:
        label_spec.read(path, None)
    assert [problem.split(":")[0] for problem in failure.value.problems] == ["line 2", "line 3"]
    with pytest.raises(InputError, match="cannot be read"):
        label_spec.read(tmp_path / "absent.json", None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.yaml", "Fox: fox\nno: bird  # YAML reads no as false elsewhere\nvehicle: drop\n7: seven\nowl:\n"),
        ("map.csv", "source_label,label\nFox,fox\nno,bird\nvehicle,drop\n7,seven\nowl,\n"),
    ],
)
def test_a_label_map(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = label_map.read(tmp_path / name)
    assert found == {"Fox": "fox", "no": "bird", "vehicle": None, "7": "seven", "owl": None}


def test_a_label_map_survives_writing(tmp_path):
    names = {"no": "yes: no", 'a "b"': None, "#x": "Füchsin", "null": "~"}
    label_map.write(tmp_path / "map.yaml", names, {"no": "why"})
    assert label_map.read(tmp_path / "map.yaml") == names


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("map.csv", "source_label,label\nfox,a\nfox,b\n", "'fox' becomes both 'a' and 'b'"),
        ("map.csv", "from,to\nfox,a\n", "lacks the columns source_label and label"),
        ("map.yaml", "fox: [a, b]\n", "a list or table"),
        ("map.yaml", "- fox\n", "holds no"),
        ("map.yaml", "fox: 'a\n", "not valid YAML"),
    ],
)
def test_what_a_label_map_gets_wrong(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=problem):
        label_map.read(tmp_path / name)


def test_locations(tmp_path):
    path = tmp_path / "locations.csv"
    assert locations_csv.read(path).height == 0
    path.write_text("dataset,location,latitude,longitude\nis,007,34.5,-119\n")
    assert locations_csv.read(path).rows() == [("is", "007", 34.5, -119.0)]
    path.write_text("dataset,location,latitude,longitude\nis,a,95,0\nis,b,1,north\nis,b,1,1\n")
    with pytest.raises(InputError) as failure:
        locations_csv.read(path)
    assert [problem.split(":")[0] for problem in failure.value.problems] == ["line 2", "line 3", "line 4"]
