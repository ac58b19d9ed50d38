"""Old and odd frames through init and run, by the command line: exactly the right ones fail, with the right reason."""

import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from trapline.cli import run_command

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
TRUNCATED = "african_elephants_truncated_file.jpg"


@pytest.fixture
def project(tmp_path, capsys):
    """project(arguments of init, a code) runs both, to the splits; (failures by file, crops, what was said)."""

    def make(*arguments, code, options=()):
        root = str(tmp_path / "p")
        assert run_command(["init", root, *map(str, arguments)]) == 0
        ended = run_command(["run", "--until", "split", "--project", root, *options])
        text = "".join(capsys.readouterr())
        assert ended == code, text
        assert "Traceback" not in text
        failures = pl.read_csv(tmp_path / "p" / "failures.csv")
        crops = pl.read_parquet(tmp_path / "p" / "tables" / "crops.parquet")
        for path in crops["path"].drop_nulls():
            with Image.open(tmp_path / "p" / "crops" / path) as crop:
                crop.load()
        return dict(failures.select("file_name", "failure").rows()), crops, text

    return make


def folder(name):
    if not (DATA / name).exists():
        pytest.skip(f"the development data are absent: no {name} beside the checkout")
    return DATA / name


def centred(tmp_path, images):
    """A list that gives each image a box in its middle half, a label and a place of its own."""
    rows = [
        f'"{path.name}",{("fox", "owl")[n % 2]},place {n},0.25,0.25,0.5,0.5,fraction' for n, path in enumerate(images)
    ]
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(["path,label,location,box_x,box_y,box_w,box_h,unit", *rows]) + "\n")
    return path


def frames(name):
    return sorted(path for path in folder(name).iterdir() if path.suffix.casefold() == ".jpg")


def test_nasty(project, tmp_path):
    """CMYK, 8-bit grey, EXIF orientation 6, blank: all give crops. The truncated file alone does not."""
    images = frames("nasty")
    assert len(images) == 14
    failures, crops, text = project("--annotations", centred(tmp_path, images), "--images", folder("nasty"), code=3)
    assert list(failures) == [TRUNCATED]
    assert failures[TRUNCATED].startswith("truncated") or "decoded" in failures[TRUNCATED], failures
    assert crops["path"].count() == 13
    assert "1 images failed and max_failures is 0" in text
    sizes = dict(crops.select("crop_id", "width_px").rows())
    assert sizes["p/african_elephants_cmyk.jpg___crop00.jpg"] == sizes["p/african_elephants_bw.jpg___crop00.jpg"]
    assert crops.filter(pl.col("crop_id").str.contains("_bw"))["infrared"].item()


def test_a_truncated_file_gives_what_there_is_of_it(project, tmp_path):
    images = [path for path in frames("nasty") if path.name == TRUNCATED] + frames("nasty")[:3]
    listed = centred(tmp_path, images)
    listed.write_text(listed.read_text().replace("0.25,0.25,0.5,0.5", "0.1,0.02,0.2,0.1", 1))
    root = tmp_path / "p"
    failures, *_ = project("--annotations", listed, "--images", folder("nasty"), code=3)
    assert list(failures) == [TRUNCATED]
    assert run_command(["crop", "--truncated", "use", "--project", str(root)]) == 0
    assert pl.read_csv(root / "failures.csv").height == 0


@pytest.mark.parametrize(("name", "n"), [("burrowing_owl", 10), ("jaguar", 4)])
def test_frames_with_odd_names_and_sizes(project, tmp_path, name, n):
    """Infrared and day frames, names with blanks, suffixes in capitals."""
    images = frames(name)
    assert len(images) == n
    failures, crops, _ = project("--annotations", centred(tmp_path, images), "--images", folder(name), code=0)
    assert not failures
    assert crops["path"].count() == n


def test_ena24_lists_images_that_are_not_there(project):
    source = folder("ena24_small")
    listed = {image["file_name"] for image in json.loads((source / "coco_annotations.json").read_text())["images"]}
    there = {path.name for path in source.glob("*.jpg")}
    failures, crops, text = project("--annotations", source / "coco_annotations.json", "--images", source, code=3)
    assert failures == dict.fromkeys(listed - there, "not on disk")
    assert crops["path"].count() == len(listed & there) == 10
    assert "11 of 21 images are not on disk" in text
    assert "--max-failures 11" in text


def test_ena24_with_labels_and_a_detector(project):
    source = folder("ena24_small")
    failures, crops, text = project(
        "--annotations", source / "md_annotations.json", source / "labels.csv", "--images", source,
        code=0, options=("--max-failures", "11"),
    )  # fmt: skip
    assert len(failures) == 11
    assert crops["path"].count() == 10
    assert "its detector's typical threshold is 0.8" in text


def test_tiny_images_in_folders_named_after_places_and_labels(project):
    source = folder("sabah_thumbnails") / "sample_images_species_dir"
    failures, crops, text = project("--images", source, "--ready-made", code=0)
    assert not failures
    assert "folders were read as location/label: 3 locations, 6 labels" in text
    assert crops.select("width_px", "height_px").unique().rows() == [(100, 75)]
    assert crops.height == len(list(source.rglob("*.[jJ][pP][gG]"))) == 68
