"""A tree as the old chain left it, every file as its scripts wrote it (FORMATS.md, its guide), made step by step."""

import json
import random
from pathlib import Path

from PIL import Image

LABELS = ("fox", "skunk", "owl")
SIZE = (320, 240)
COLOURS = {"fox": (190, 90, 30), "skunk": (20, 20, 20), "owl": (150, 140, 120)}


class OldTree:
    """`home` with mdcache, images, crops and BASE_LOGDIR of one dataset: 9 places, 3 labels, 8 images a place.

    In the first place one image shows two animals, and one is empty: md_to_queried_images leaves out the first, and
    makes an animal of the second.
    """

    def __init__(self, home: Path, dataset: str = "islands", per_place: int = 8):
        self.home, self.dataset = home, dataset
        self.mdcache = home / "classifier-training" / "mdcache" / "v5.0b"
        self.images = home / "images" / dataset
        self.crops = home / "crops" / dataset
        self.logdir = home / "CameraTraps" / "classification" / "BASE_LOGDIR"
        self.places = [f"Ridge {n}" for n in range(9)]
        chance = random.Random(0)
        self.boxes: dict[str, list[tuple[str, tuple[int, int, int, int]]]] = {}
        self.place_of: dict[str, str] = {}
        for number, place in enumerate(self.places):
            for n in range(per_place):
                path = f"cam{number}/IMG_{n:04d}_e{number}-{n}.jpg"
                label = LABELS[(number + n) % 3] if n else LABELS[number % 3]
                side = chance.randrange(60, 100)
                box = (chance.randrange(10, 200), chance.randrange(10, 120), side, side)
                self.boxes[path], self.place_of[path] = [(label, box)], place
        first, second = list(self.boxes)[:2]
        self.two_animals, self.nothing = first, second
        self.boxes[first].append(("owl", (5, 5, 50, 40)))
        self.boxes[second] = [("empty", (0, 0, *SIZE))]
        for folder in (self.mdcache, self.logdir):
            folder.mkdir(parents=True)

    def export(self) -> Path:
        """The export of Animl's older layout, renamed as the guide says."""
        ids = {name: n for n, name in enumerate(("empty", *LABELS))}
        images = [
            {"id": f"e:{path}", "file_name": path.split("/")[1], "original_relative_path": path}
            | {"datetime": "2023-01-13T07:46:00.000-07:00", "location": self.place_of[path]}
            | {"width": SIZE[0], "height": SIZE[1]}
            for path in self.boxes
        ]
        annotations = [
            {"id": f"o{path}{n}", "image_id": f"e:{path}", "category_id": ids[label]}
            | {"sequence_level_annotation": False, "bbox": list(box)}
            for path, boxes in self.boxes.items()
            for n, (label, box) in enumerate(boxes)
        ]
        content = {"images": images, "annotations": annotations}
        content |= {"categories": [{"id": n, "name": name} for name, n in ids.items()], "info": {"version": "1.0"}}
        return self._write(self.mdcache / f"{self.dataset}_cct.json", content, indent=4)

    def download(self) -> None:
        """What download_images.py brought."""
        for path, boxes in self.boxes.items():
            image = Image.new("RGB", SIZE, (90, 110, 90))
            for label, (x, y, w, h) in boxes:
                image.paste(COLOURS.get(label, (90, 110, 90)), (x, y, x + w, y + h))
            (self.images / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(self.images / path)

    def convert(self) -> Path:
        """What cct_to_md.py wrote."""
        ids = {name: str(n) for n, name in enumerate(("empty", *LABELS))}
        images = [
            {"file": path, "location": self.place_of[path], "id": f"e:{path}"}
            | {"detections": [{"category": ids[label], "conf": 1.0, "bbox": fractions(box)} for label, box in boxes]}
            | {"max_detection_conf": 1.0, "is_ground_truth": True}
            for path, boxes in self.boxes.items()
        ]
        content = {"info": {"format_version": 1.2, "detector": "cct_to_md"}}
        content |= {"detection_categories": {n: name for name, n in ids.items()}, "images": images}
        return self._write(self.mdcache / f"{self.dataset}_md.json", content)

    def crop(self) -> None:
        """What crop_detections.py wrote: every box, `empty` ones too, at Pillow's default quality."""
        for path, boxes in self.boxes.items():
            with Image.open(self.images / path) as image:
                for n, (_, (x, y, w, h)) in enumerate(boxes):
                    target = self.crops / f"{path}___crop{n:02d}.jpg"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    image.crop((x, y, x + w, y + h)).save(target)

    def query(self) -> Path:
        """What md_to_queried_images.py wrote: images of exactly one box."""
        content = {
            f"{self.dataset}/{path}": {"dataset": self.dataset, "location": self.place_of[path], "class": label}
            | {"bbox": [{"category": "animal", "bbox": fractions(box)}], "label": [label]}
            for path, boxes in self.boxes.items()
            for label, box in boxes
            if len(boxes) == 1
        }
        return self._write(self.logdir / "queried_images.json", content)

    def list_crops(self) -> Path:
        """The classification_ds.csv and label_index.json of create_classification_dataset.py, min-locs 3."""
        lines = ["path,dataset,location,dataset_class,confidence,label"]
        lines += [
            f"{self.dataset}/{path}___crop00.jpg,{self.dataset},{self.place_of[path]},{label},1.0,{label}"
            for path, ((label, _), *more) in self.boxes.items()
            if not more and label != "empty"
        ]
        path = self.logdir / "classification_ds.csv"
        path.write_text("\n".join(lines) + "\n")
        self._write(self.logdir / "label_index.json", {str(n): name for n, name in enumerate(sorted(LABELS))})
        return path

    def split(self) -> dict[str, list[str]]:
        """The splits.json of create_classification_dataset.py."""
        parts = {"train": self.places[:5], "val": self.places[5:7], "test": self.places[7:]}
        content = {name: [[self.dataset, place] for place in places] for name, places in parts.items()}
        self._write(self.logdir / "splits.json", content)
        return parts

    def everything(self) -> "OldTree":
        """All the steps before training."""
        for step in (self.export, self.download, self.convert, self.crop, self.query, self.list_crops, self.split):
            step()
        return self

    @staticmethod
    def _write(path: Path, content: object, indent: int = 1) -> Path:
        path.write_text(json.dumps(content, indent=indent))
        return path


def fractions(box: tuple[int, int, int, int]) -> list[float]:
    return [side / SIZE[n % 2] for n, side in enumerate(box)]
