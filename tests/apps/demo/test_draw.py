import csv
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trapline.apps import demo
from trapline.apps.demo import picture, plan, scenery


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, demo.Planted]:
    directory = tmp_path_factory.mktemp("demo")
    return directory, demo.draw(directory, size=demo.SMALL, workers=1)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def document(planted: demo.Planted) -> dict:
    return json.loads(planted.annotations.read_text())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float32)


def test_two_workers_draw_the_same_bytes_as_one(drawn, tmp_path):
    seen = []
    planted = demo.draw(
        tmp_path, size=demo.SMALL, workers=2, on_progress=lambda done, total: seen.append((done, total))
    )
    assert contents(tmp_path) == contents(drawn[0])
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (planted.n_images, planted.n_images)


def test_an_interrupted_drawing_is_completed_to_the_same_bytes(drawn):
    directory, planted = drawn
    whole = contents(directory)
    for path in sorted(planted.images.rglob("*.jpg"))[::5]:
        path.unlink()
    planted.annotations.unlink()
    untouched = sorted(planted.images.rglob("*.jpg"))[1]
    before = untouched.stat().st_mtime_ns
    demo.draw(directory, size=demo.SMALL, workers=1)
    assert contents(directory) == whole
    assert untouched.stat().st_mtime_ns == before


def test_a_complete_folder_is_left_alone(drawn):
    directory, planted = drawn
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert demo.draw(directory, size=demo.SMALL) == planted
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_another_seed_replaces_the_pictures_and_foreign_files_are_refused(tmp_path):
    tiny = demo.DemoSize(6, 4, 160, 120, n_wrong_labels=1, n_duplicates=1, evenness=3.0)
    demo.draw(tmp_path / "a", size=tiny, workers=1)
    first = contents(tmp_path / "a")
    planted = demo.draw(tmp_path / "a", size=tiny, seed=1, workers=1)
    second = contents(tmp_path / "a")
    assert not {name for name in first if name.endswith(".jpg")} & set(second)
    assert len(list(planted.images.rglob("*.jpg"))) == planted.n_images - 1
    foreign = tmp_path / "b" / "images" / "demo" / "mine.jpg"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="holds files that the demo did not draw"):
        demo.draw(tmp_path / "b", size=tiny, workers=1)
    assert foreign.read_bytes() == b"mine"


def test_planted_lists_agree_with_the_export_and_the_files(drawn):
    directory, planted = drawn
    export = document(planted)
    names = {row["id"]: row["name"] for row in export["categories"]}
    labels = {row["id"]: (row["image_id"], names[row["category_id"]]) for row in export["annotations"]}
    files = {row["id"]: planted.images / row["file_name"] for row in export["images"]}
    rows = {
        name: list(csv.DictReader((directory / "planted" / f"{name}.csv").open()))
        for name in ("wrong_labels", "duplicates", "broken")
    }
    assert [len(rows[name]) for name in rows] == [demo.SMALL.n_wrong_labels, demo.SMALL.n_duplicates, 5]
    for row in rows["wrong_labels"]:
        assert labels[row["annotation_id"]] == (row["image_id"], row["given_label"])
        assert row["given_label"] != row["true_label"]
    for row in rows["duplicates"]:
        copy, original = files[row["image_id"]], files[row["original_image_id"]]
        assert copy.parent != original.parent
        assert copy.read_bytes() != original.read_bytes()
        assert np.abs(pixels(copy) - pixels(original)).mean() < 8
    kinds = sorted(row["kind"] for row in rows["broken"])
    assert kinds == ["missing", "text", "truncated", "truncated", "zero_bytes"]
    broken = {row["image_id"]: row["kind"] for row in rows["broken"]}
    for image_id, path in files.items():
        assert path.exists() == (broken.get(image_id) != "missing")
        if image_id in broken:
            with pytest.raises(OSError, match=r"truncated|cannot identify|No such file"):
                Image.open(path).load()
            assert any(image == image_id and label != "empty" for image, label in labels.values())
    assert len(files) == planted.n_images
    assert sum(label == "empty" for _, label in labels.values()) == planted.n_empty
    assert len(labels) == planted.n_boxes + planted.n_empty


def test_pictures_have_the_stated_size_and_moment(drawn):
    planted = drawn[1]
    broken = {row.image_id for row in planted.broken}
    for row in document(planted)["images"]:
        if row["id"] not in broken:
            image = Image.open(planted.images / row["file_name"])
            assert image.size == (row["width"], row["height"])
            moment = image.getexif().get_ifd(0x8769)[0x9003]
            assert datetime.strptime(moment, "%Y:%m:%d %H:%M:%S").isoformat() == row["datetime"][:19]


def test_boxes_are_tight_around_what_was_drawn():
    project = plan.plan(demo.SMALL, 0)
    width, height = demo.SMALL.width_px, demo.SMALL.height_px
    floor = round(height * (1 - picture.STRIP))
    checked = 0
    for frame in project.frames[::3]:
        if frame.copy_of:
            continue
        ground = scenery.ground_of(project.cameras[frame.camera], frame.deployment)
        for item in picture.place(frame, ground, width, height):
            x, y, w, h = item.box
            assert min(x, y) >= 0 < min(w, h)
            assert (x + w <= width, y + h <= floor) == (True, True)
            mask = np.zeros((3 * height, 3 * width), bool)
            top, left = item.top + height, item.left + width
            mask[top : top + item.cutout.alpha.shape[0], left : left + item.cutout.alpha.shape[1]] = (
                item.cutout.alpha > picture.VISIBLE_ALPHA
            )
            seen = mask[height : 2 * height, width : 2 * width]
            inner = seen[y : y + h, x : x + w]
            assert all(edge.any() for edge in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))
            assert seen[:floor].sum() == inner.sum()
            checked += 1
    assert checked > 35


def test_the_export_is_laid_out_as_animl_does(drawn):
    export = document(drawn[1])
    assert list(export) == ["images", "annotations", "categories", "info"]
    assert list(export["info"]) == ["version", "description", "year", "date_created"]
    assert export["categories"][0] == {"id": 0, "name": "empty"}
    labels = {row["name"]: row["id"] for row in export["categories"]}
    assert {"empty", "person", "vehicle", *plan.SHARES} < set(labels)
    used = {row["category_id"] for row in export["annotations"]}
    assert {labels[name] for name in plan.SHARES} < used
    assert labels["vehicle"] not in used
    for image in export["images"]:
        assert list(image) == ["id", "file_name", "original_file_name", "serving_bucket_key", "datetime", "location",
                               "width", "height"]  # fmt: skip
        project, camera, deployment, name = image["file_name"].split("/")
        assert name == image["id"].replace(":", "-", 1) + ".jpg"
        assert image["id"].startswith(project + ":")
        assert deployment.startswith(camera)
        assert image["location"] == deployment
        assert datetime.fromisoformat(image["datetime"]).tzinfo is not None
    for row in export["annotations"]:
        assert list(row) == ["id", "image_id", "category_id", "sequence_level_annotation", "bbox", "confidence",
                             "validated", "validated_by"]  # fmt: skip
        assert row["validated"] == (row["confidence"] is None) == (row["validated_by"] != "Not Reviewed")
        assert row["category_id"] or row["bbox"] == [0, 0, demo.SMALL.width_px, demo.SMALL.height_px]
    assert len({row["id"] for row in export["annotations"]}) == len(export["annotations"])
    assert drawn[1].annotations.read_text().startswith('{\n    "images"')


def test_the_full_plan_has_a_long_tail_at_many_cameras():
    project = plan.plan(demo.FULL, 0)
    assert len(project.cameras) >= 60
    assert sum(len(camera.deployments) == 2 for camera in project.cameras) == 3
    boxes = [(figure.true_label, frame.camera) for frame in project.frames for figure in frame.figures]
    animals = [pair for pair in boxes if pair[0] != "person"]
    share = {name: sum(label == name for label, _ in animals) / len(animals) for name in plan.SHARES}
    assert 1150 <= len(animals) <= 1350
    assert share["fox"] > 0.3
    assert min(share.values()) > 0.025
    assert all(len({camera for label, camera in animals if label == name}) >= 8 for name in plan.SHARES)
