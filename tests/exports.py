"""Annotation files in the field's layouts (FORMATS.md), made from a few words."""

import json
from pathlib import Path
from typing import Any

ANIMALS = ("empty", "fox", "skunk", "person")


def animl_image(id: str, location: str = "Ridge", *, camera: str = "cam1", since_2023: bool = True, **changes: Any):
    """An image of an Animl export, in today's layout or the one until 2023-09-11."""
    image: dict[str, Any] = {"id": id, "datetime": "2024-01-13T07:46:00.000-07:00", "location": location}
    if since_2023:
        folder = location.lower().replace(" ", "_")
        image["file_name"] = f"islands/{camera}/{folder}/{id.replace(':', '-', 1)}.jpg"
        image["original_file_name"] = "IMG_0001.JPG"
        image["serving_bucket_key"] = f"original/{id}-original.jpg"
    else:
        image["file_name"] = "IMG_0001.JPG"
        image["original_relative_path"] = f"{camera}/IMG_0001_{id}.jpg"
    return {key: value for key, value in {**image, "width": 640, "height": 480, **changes}.items() if value != "absent"}


def animl_object(id: str, image_id: str, label: str, bbox: list | None = None, **changes: Any):
    """An annotation of an Animl export; `label` becomes a category id when the export is written."""
    return {
        "id": id,
        "image_id": image_id,
        "label": label,
        "sequence_level_annotation": False,
        "bbox": [10, 20, 100, 50] if bbox is None else bbox,
        **changes,
    }


def content(images: list, objects: list, names=ANIMALS, created: str = "2024-06-01T00:00:00.000Z", first_id: int = 0):
    """An export as a dictionary; category ids count from `first_id` in the order of `names`."""
    ids = {name: first_id + n for n, name in enumerate(names)}
    annotations = [
        {
            key: value
            for key, value in {**item, "category_id": ids.get(item.get("label"), 999)}.items()
            if key != "label"
        }
        if "category_id" not in item
        else item
        for item in objects
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "info": {"version": "1.0", "description": "islands", "year": 2024, "date_created": created},
    }


def write(path: Path, *args: Any, **kwargs: Any) -> Path:
    """Write an export as Animl does: indented by 4."""
    path.write_text(json.dumps(content(*args, **kwargs), indent=4))
    return path


def lila() -> dict[str, Any]:
    """A small file in LILA's layout, with its quirks."""
    return {
        "info": {"version": "1.0", "date_created": "2019"},
        "categories": [{"id": 0, "name": "empty"}, {"id": 7, "name": "deer", "count": 3}],
        "images": [
            {"id": "a", "file_name": "S1/a.JPG", "width": 640, "height": 480, "datetime": "2014-06-05 06:07:08"}
            | {"location": 26, "seq_id": "s1", "seq_num_frames": 2, "frame_num": 1, "rights_holder": "x"},
            {"id": 12, "file_name": "S1\\b.JPG", "location": "26", "seq_id": 5, "corrupt": False},
        ],
        "annotations": [
            {"id": 1, "image_id": "a", "category_id": 7, "count": 2, "sequence_level_annotation": True},
            {"id": "x", "image_id": 12, "category_id": 7, "bbox": [1.5, 2, 30.25, 40]},
            {"image_id": 12, "category_id": 0},
        ],
    }
