import csv
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing import check, text_variants
from trapline.core.errors import InputError
from trapline.formats import camtrap_dp

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
DEPLOYMENTS = (
    "deploymentID,locationID,latitude,longitude,cameraID\nd1,Ridge,34.1,-119.7,SN1\nd2,Ridge,34.1,-119.7,SN2\n"
)
MEDIA = (
    "mediaID,deploymentID,timestamp,filePath,fileName,fileMediatype\n"
    "m1,d1,2024-01-13T07:46:00-08:00,d1/a.jpg,a.jpg,image/jpeg\n"
    "m2,d1,2024-01-13T15:46:30Z,https://x.example/media/9?size=1,b.jpg,image/jpeg\n"
    "m3,d1,2024-01-13T08:00:00-08:00,d1/c.mp4,c.mp4,video/mp4\n"
    "m4,d2,2024-01-14T08:00:00-08:00,d2/d.jpg,d.jpg,image/jpeg\n"
)
OBSERVATIONS = (
    "observationID,deploymentID,mediaID,eventStart,eventEnd,observationLevel,observationType,scientificName,"
    "bboxX,bboxY,bboxWidth,bboxHeight,classificationMethod,classifiedBy,classificationProbability,count\n"
    "o1,d1,m1,,,media,animal,Urocyon littoralis,0.1,0.2,0.3,0.4,machine,MIRA,0.8,1\n"
    "o2,d1,m1,,,media,human,,,,,,human,Ada,,\n"
    "o3,d2,,2024-01-14T15:00:00Z,2024-01-14T17:00:00Z,event,blank,,,,,,human,Ada,,\n"
    "o4,d1,,2024-01-13T07:00:00-08:00,2024-01-13T08:00:00-08:00,event,animal,Spilogale gracilis,,,,,human,Ada,,\n"
    "o5,d1,m2,,,media,unclassified,,,,,,,,,\n"
)


@pytest.fixture
def package(tmp_path):
    def make(deployments=DEPLOYMENTS, media=MEDIA, observations=OBSERVATIONS, **changes):
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        texts = {"deployments": deployments, "media": media, "observations": observations}
        for name, text in texts.items():
            (folder / f"{name}.csv").write_text(text)
        resources = [{"name": name, "path": changes.get(name, f"{name}.csv")} for name in texts]
        (folder / "datapackage.json").write_text(
            json.dumps({"resources": resources, "created": "2024-06-01T00:00:00Z"})
        )
        return folder

    return make


def test_a_package_becomes_annotations(package):
    got = camtrap_dp.read(package())
    assert got.images.select("source_id", "file_name", "uri", "location", "deployment", "latitude").rows() == [
        ("m1", "d1/a.jpg", None, "Ridge", "d1", 34.1),
        ("m2", "d1/b.jpg", "https://x.example/media/9?size=1", "Ridge", "d1", 34.1),
        ("m4", "d2/d.jpg", None, "Ridge", "d2", 34.1),
    ]
    assert got.images["camera"].null_count() == 3  # cameraID is a device, which moves from place to place
    columns = ("image", "source_label", "box_w", "validated", "validated_by", "conf", "sequence_level")
    assert got.objects.select(columns).rows() == [
        ("m1", "Urocyon littoralis", 0.3, False, None, 0.8, False),
        ("m1", "person", None, True, "Ada", None, False),
        ("m4", "empty", None, True, "Ada", None, True),
        ("m2", "Spilogale gracilis", None, True, "Ada", None, True),  # not m1: more is known of it
    ]
    assert [note.split(" ")[0] for note in got.notes] == ["1", "not", "1"]


def test_a_zip_is_read_like_its_folder(package, tmp_path):
    folder = package()
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"inside/{file.name}")
    zipped, plain = camtrap_dp.read(tmp_path / "p.zip"), camtrap_dp.read(folder)
    assert zipped.images.equals(plain.images)
    assert zipped.objects.equals(plain.objects)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"media": "https://x.example/media.csv"}, "Download it beside datapackage.json"),
        ({"media": "../media.csv"}, "climbs out of its folder"),
        ({"media": "absent.csv"}, "the table media (absent.csv) cannot be read"),
    ],
)
def test_tables_that_are_not_there(package, changes, says):
    folder = package()
    descriptor = json.loads((folder / "datapackage.json").read_text())
    for resource in descriptor["resources"]:
        resource["path"] = changes.get(resource["name"], resource["path"])
    (folder / "datapackage.json").write_text(json.dumps(descriptor))
    with pytest.raises(InputError) as error:
        camtrap_dp.read(folder)
    assert says in str(error.value)


def test_what_is_no_package(package, tmp_path):
    with pytest.raises(InputError, match=r"holds no datapackage\.json"):
        camtrap_dp.read(tmp_path)
    with pytest.raises(InputError, match="lacks the columns filePath"):
        camtrap_dp.read(package(media="mediaID,deploymentID\n"))
    folder = package()
    (folder / "datapackage.json").write_text('{"resources": 3}')
    with pytest.raises(InputError, match=r"\$\.resources"):
        camtrap_dp.read(folder)


@pytest.mark.parametrize("name", ["camtrap_dp_example/example", "camtrap_dp_mica", "camtrap_dp_small"])
def test_real_packages_lose_no_observation(name):
    """Against a count by the csv module: every media-level observation of a thing with a name is there."""
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"the development data are absent: no {name} beside the checkout")
    with open(folder / "observations.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    direct = [row for row in rows if row["mediaID"] and row["observationType"] not in ("unknown", "unclassified", "")]
    got = camtrap_dp.read(folder)
    assert got.objects.filter(~pl.col("sequence_level")).height == len(direct)
    observed = {row["mediaID"] for row in direct}
    assert not set(got.objects.filter("sequence_level")["image"]) & observed
    assert bool(got.objects["sequence_level"].any()) == (name == "camtrap_dp_mica")  # which observes events alone


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(name=st.sampled_from(["deployments", "media", "observations", "datapackage"]), data=st.data())
def test_variants_of_a_package(package, name, data):
    folder = package()
    file = folder / ("datapackage.json" if name == "datapackage" else f"{name}.csv")
    file.write_text(data.draw(text_variants([file.read_text()])), errors="surrogatepass")
    check(folder)
