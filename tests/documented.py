"""What the pages show: their commands, and a desk with every file that the commands name."""

import json
import re
import shlex
import shutil
from pathlib import Path

from PIL import Image

from old_chain import LABELS, OldTree

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]


def blocks(page: str) -> list[str]:
    """The fenced bash blocks of a page."""
    return re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The arguments of every trapline command in a page's blocks, in order; comments and `uv run` are left away."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    found = [words[2:] if words[:2] == ["uv", "run"] else words for words in found if words]
    return [words[1:] for words in found if words[0] == "trapline"]


def other_lines(page: str) -> list[str]:
    """Lines of a page's blocks that are no trapline commands."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not re.match(r"(uv run )?trapline ", line)]


def spans(page: str) -> list[str]:
    """Every `trapline ...` between backticks in a page's text, blank lines and breaks made one blank."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`(trapline [^`]*)`", text)]


class Desk:
    """A folder with an export, photographs, labels, detections, crops, an old project: all that the pages name.

    The export's file names are `<place>/<label>/<file>`, so that the folders alone tell labels too.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.old = OldTree(folder / "home").everything()
        images, annotations, detections, labels = [], [], [], []
        ids = {name: n for n, name in enumerate(("empty", *LABELS))}
        for number, (path, boxes) in enumerate(self.old.boxes.items()):
            (label, (x, y, w, h)), place = boxes[0], self.old.place_of[path]
            name = f"{place}/{label}/{path.split('/')[1]}"
            (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.old.images / path, folder / "photos" / name)
            images.append(
                {"id": f"e:{number}", "file_name": name, "serving_bucket_key": f"original/e:{number}-original.jpg"}
                | {"datetime": "2024-01-13T07:46:00.000-07:00", "location": place, "width": 320, "height": 240}
            )
            annotations.append(
                {"id": f"o{number}", "image_id": f"e:{number}", "category_id": ids[label], "bbox": [x, y, w, h]}
            )
            detections.append(
                {
                    "file": name,
                    "detections": [{"category": "1", "conf": 0.9, "bbox": [x / 320, y / 240, w / 320, h / 240]}],
                }
            )
            labels.append(f"{name},{label},{place},2024-01-13 07:46:00")
        categories = [{"id": n, "name": name} for name, n in ids.items()]
        self._write("export.json", {"images": images, "annotations": annotations, "categories": categories})
        info = {"info": {"detector": "md_v5a.0.0.pt"}, "detection_categories": {"1": "animal"}}
        self._write("md.json", info | {"images": detections})
        (folder / "labels.csv").write_text("\n".join(["path,label,location,datetime", *labels]) + "\n")
        places = [
            f"{dataset},{place},34.5,-120.{n}" for n, place in enumerate(self.old.places) for dataset in ("images",)
        ]
        (folder / "locations.csv").write_text("\n".join(["dataset,location,latitude,longitude", *places]) + "\n")
        (folder / "corrections.csv").write_text(
            "image_id,box_id,action,from,to,who,when\ne:2,o2,relabel,owl,fox,me,2024-06-01T00:00:00Z\n"
        )
        for label in LABELS:
            for n in range(4):
                (folder / "crops" / label).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (60, 60), (40 * n, 90, 60)).save(folder / "crops" / label / f"{n:04d}.jpg")
        shutil.copy(self.old.logdir / "classification_ds.csv", folder / "classification_ds.csv")

    def objects(self) -> dict[str, bytes]:
        """Key -> bytes of every image in Animl's bucket."""
        content = json.loads((self.folder / "export.json").read_text())
        return {
            image["serving_bucket_key"]: (self.folder / "photos" / image["file_name"]).read_bytes()
            for image in content["images"]
        }

    def _write(self, name: str, content: object) -> None:
        (self.folder / name).write_text(json.dumps(content))
