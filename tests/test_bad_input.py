"""Bad input through the command line: the exit code, a message with the file, the place and the remedy, nothing lost.

Every case is met by somebody who has a finished project already and adds a dataset to it.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from exports import animl_image, animl_object, content
from projects import QUICK, draw_small, write_project
from trapline.cli import run_command

LABELS = ("empty", "fox", "skunk")
CLIMBS = "file name climbs out of its folder"
N = 6


class Bad:
    """A folder with a good export of six images at six places, to be broken: `images`, `objects`, `names`, files."""

    def __init__(self, folder: Path):
        self.folder, self.photos, self.export = folder, folder / "photos", folder / "export.json"
        self.images = [animl_image(f"e{k}:i", f"L{k}", camera=f"c{k}") for k in range(N)]
        self.objects = [animl_object(f"o{k}", f"e{k}:i", LABELS[1 + k % 2]) for k in range(N)]
        self.names = LABELS
        for image in self.images:
            path = self.photos / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (640, 480), (90, 110, 80)).save(path)
        self.text: str | None = None

    def photo(self, k: int) -> Path:
        return self.photos / self.images[k]["file_name"]

    def write(self) -> None:
        exported = content(self.images, self.objects, self.names)
        self.export.write_text(json.dumps(exported, indent=4) if self.text is None else self.text)

    def relabel(self, *names: str) -> None:
        self.names = ("empty", *names)
        for k, item in enumerate(self.objects):
            item["label"] = names[k % len(names)]


@dataclass(frozen=True)
class Case:
    """What is broken, and what `init` and then `run --until dataset` must end with and say."""

    breaks: Callable[[Bad], object]
    code: int
    says: tuple[str, ...]
    then: int | None = None  # the exit code of `run`; None: `init` refused
    and_says: tuple[str, ...] = ()


def _name(file_name: str) -> Callable[[Bad], None]:
    def breaks(bad: Bad) -> None:
        bad.images.append(animl_image("b:i", "L0", file_name=file_name))
        bad.objects.append(animl_object("ob", "b:i", "fox"))

    return breaks


def _box(*sides: float) -> Callable[[Bad], None]:
    return lambda bad: bad.objects.append(animl_object("ob", "e1:i", "fox", list(sides)))


def _left_out(reason: str) -> tuple[str, ...]:
    return (f"left out 1 {reason}", f"1 images left out: {reason} (first: ", "Rename them in the export")


CASES = {
    "a missing file": Case(
        lambda bad: setattr(bad, "export", bad.folder / "exprot.json") or shutil.rmtree(bad.folder / "none", True),
        2,
        ("exprot.json does not exist. Check the path.",),
    ),
    "not JSON": Case(
        lambda bad: setattr(bad, "text", "please log in"),
        2,
        ("export.json is not valid JSON", "(byte 0)", "Export it again, or check that it is complete"),
    ),
    "broken JSON": Case(
        lambda bad: setattr(bad, "text", '{"images": [{"id": "a",, }], "annotations": [], "categories": []}'),
        2,
        ("export.json is not valid JSON", "byte ", "Export it again"),
    ),
    "JSON that is not CCT": Case(
        lambda bad: setattr(bad, "text", '{"people": [1, 2]}'),
        2,
        ("export.json is not a COCO Camera Traps file: Object missing required field `images`", "reads Animl's"),
    ),
    "CCT with a wrong type": Case(
        lambda bad: bad.images[3].update(width="wide"),
        2,
        ("export.json is not a COCO Camera Traps file", "`$.images[3].width`"),
    ),
    "a folder of images as annotations": Case(
        lambda bad: setattr(bad, "export", bad.photos), 2, ("is a folder of images", "give it as --images alone")
    ),
    "an annotation pointing to no image": Case(
        lambda bad: bad.objects.append(animl_object("ox", "nowhere:i", "fox")),
        0,
        ("7 annotations -> 6 boxes; left out 1 pointing to no image", "(first: ox, image nowhere:i)"),
        0,
    ),
    "a category id that does not exist": Case(
        lambda bad: bad.objects.append(animl_object("oy", "e1:i", "fox", category_id=77)),
        0,
        ("left out 1 with an unknown category id", "(first: oy, image new/e1:i)"),
        0,
    ),
    "a box of zero size": Case(
        _box(10, 10, 0, 5), 0, ("left out 1 with a box of no area", "with a box of no area (first: ob, image"), 0
    ),
    "a box of negative size": Case(_box(10, 10, 20, -5), 0, ("left out 1 with a box of no area",), 0),
    "a box outside the image": Case(
        _box(700, 20, 50, 50), 0, (), 3, ("left out 1 box lies outside the image", "1 images failed", "failures.csv")
    ),
    "a box across the image's edge": Case(_box(600, 400, 100, 200), 0, (), 0, ("13 boxes -> 13 crops",)),
    "an image that moved": Case(
        lambda bad: shutil.move(bad.photo(2), bad.photos / "e2-i.jpg"),
        0,
        ("1 of 6 images are not on disk", "Files of the same name lie elsewhere", "photos/e2-i.jpg for e2-i.jpg"),
        3,
        ("left out 1 not on disk", "failures.csv", "--max-failures 1"),
    ),
    "an image in other letters": Case(
        lambda bad: bad.photo(2).rename(bad.photo(2).with_suffix(".JPG")),
        0,
        ("1 of 6 images are not on disk", "1 are there in other letters", "e2-i.JPG for e2-i.jpg): rename them"),
        3,
    ),
    "an image that is nowhere": Case(
        lambda bad: bad.photo(2).unlink(), 0, ("1 of 6 images are not on disk (first: ", "e2-i.jpg)."), 3
    ),
    "no image where they should be": Case(
        lambda bad: setattr(bad, "photos", bad.folder),
        2,
        ("none of the 6 images of dataset new lies in", "They seem to lie in", "/photos: give that, by --images"),
    ),
    "no folder of images": Case(
        lambda bad: setattr(bad, "photos", bad.folder / "fotos"),
        2,
        ("image folders are missing. Say where the images lie", "/fotos"),
    ),
    "an image that is a text file": Case(
        lambda bad: bad.photo(2).write_text("hello"), 0, (), 3, ("left out 1 not an image", "failures.csv")
    ),
    "an empty image": Case(lambda bad: bad.photo(2).write_bytes(b""), 0, (), 3, ("left out 1 file is empty",)),
    "half an image": Case(
        lambda bad: bad.photo(2).write_bytes(bad.photo(2).read_bytes()[:1500]), 0, (), 3, ("1 images failed",)
    ),
    "a file_name that climbs out": Case(
        _name("../../etc/x.jpg"), 0, _left_out("file name climbs out of its folder"), 0
    ),
    "a file_name that climbs out the Windows way": Case(_name("a\\..\\..\\x.jpg"), 0, _left_out(CLIMBS), 0),
    "an absolute path": Case(_name("/etc/passwd"), 0, _left_out("file name is an absolute path"), 0),
    "a drive letter": Case(_name("C:/x.jpg"), 0, _left_out("file name is an absolute path"), 0),
    "a name that Windows reserves": Case(_name("a/con.jpg"), 0, _left_out("file name is reserved by Windows"), 0),
    "a name of 300 characters": Case(
        _name("n" * 300 + ".jpg"), 0, (*_left_out("file name is too long"), "n" * 120 + "…'"), 0
    ),
    "a label that is HTML": Case(
        lambda bad: bad.relabel("<script>alert(1)</script>", "fox"), 0, (), 0, ("<script>alert(1)</script> 3",)
    ),
    "a label with a slash": Case(lambda bad: bad.relabel("deer/elk", "fox"), 0, (), 0, ("deer/elk 3",)),
    "a label with a comma": Case(
        lambda bad: bad.relabel("fox, red", "owl"),
        0,
        (),
        0,
        ("1 labels hold a comma (first: 'fox, red')", "Rename them with dataset: label_map"),
    ),
    "a label of blanks": Case(
        lambda bad: bad.relabel("   ", "owl"), 0, ("left out 3 with a blank label", "(first: o0, image new/e0:i)"), 0
    ),
    "labels that differ in case": Case(
        lambda bad: bad.relabel("Fox", "fox"),
        0,
        (),
        0,
        ("1 labels are spelt in several ways", "'Fox', 'fox'", "trapline labels --suggest labels.yaml"),
    ),
    "no animals": Case(
        lambda bad: bad.relabel("empty", "Empty"), 0, ("6 annotations -> 0 boxes; left out 6 meaning no animal",), 0
    ),
    "no annotations": Case(lambda bad: bad.objects.clear(), 0, ("0 annotations -> 0 boxes",), 0),
    "no images": Case(lambda bad: bad.images.clear(), 2, ("no usable image is listed in export.json",)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project with crops and a dataset, one dataset in it."""
    folder = tmp_path_factory.mktemp("finished")
    good = Bad(folder / "good")
    good.write()
    root = folder / "p"
    assert run_command(["init", str(root), "--annotations", str(good.export), "--images", str(good.photos)]) == 0
    assert run_command(["run", "--until", "dataset", "--project", str(root)]) == 0
    return root


@pytest.fixture
def root(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "p")


def say(capsys, *arguments):
    code = run_command([str(argument) for argument in arguments])
    text = "".join(capsys.readouterr())
    assert "Traceback" not in text
    return code, text


def snapshot(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def row(name: str) -> str:
    """A case's row in the table of docs/bad-input.md."""
    case = CASES[name]
    said = [words.strip().replace("`", "") for words in (*case.says, *case.and_says)]
    said = [words if len(words) < 90 else f"{words[:20]}…" for words in said]
    codes = f"{case.code}" if case.then is None else f"{case.code}, {case.then}"
    return f"| {name} | {codes} | {' … '.join(f'`{words}`' for words in said)} |"


def test_the_page_shows_what_is_said():
    page = (Path(__file__).parents[1] / "docs" / "bad-input.md").read_text()
    missing = [row(name) for name in CASES if row(name) not in page]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name, root, tmp_path, capsys, record_property):
    case, bad = CASES[name], Bad(tmp_path / "bad")
    case.breaks(bad)
    if bad.export.parent == bad.folder and bad.export.name == "export.json":
        bad.write()
    before = snapshot(root)
    code, text = say(capsys, "init", root, "--dataset", "new", "--annotations", bad.export, "--images", bad.photos)
    record_property("message", text)
    assert code == case.code, text
    assert not [words for words in case.says if words not in text], text
    if case.then is None:
        assert snapshot(root) == before  # refused, and nothing was written
        return
    code, text = say(capsys, "run", "--until", "dataset", "--project", root)
    assert code == case.then, text
    assert not [words for words in case.and_says if words not in text], text
    crops = {path: digest for path, digest in before.items() if path.startswith(("crops/", "annotations/"))}
    assert crops.items() <= snapshot(root).items()  # what was there is there
    examples = pl.read_parquet(root / "tables" / "examples.parquet")
    assert examples.filter(dataset="p").height == N
    assert not [path for path in tmp_path.rglob("x.jpg") if "bad" not in path.parts]


# -- a dataset that cannot teach --------------------------------------------------------------------------------------


def alone(bad: Bad, root: Path, capsys) -> tuple[int, str]:
    bad.write()
    assert say(capsys, "init", root, "--annotations", bad.export, "--images", bad.photos)[0] == 0
    return say(capsys, "run", "--project", root)


def test_one_label(tmp_path, capsys):
    bad = Bad(tmp_path / "bad")
    bad.relabel("fox")
    code, text = alone(bad, tmp_path / "p", capsys)
    assert code == 2
    assert "all 6 examples are of one label, fox: there is nothing to tell apart" in text
    assert "a classifier needs two labels or more. Check the label map and the excluded labels" in text


@pytest.mark.parametrize("breaks", [lambda bad: bad.relabel("empty"), lambda bad: bad.objects.clear()])
def test_no_animals_at_all(tmp_path, capsys, breaks):
    bad = Bad(tmp_path / "bad")
    breaks(bad)
    code, text = alone(bad, tmp_path / "p", capsys)
    assert code == 2
    assert "no example is left to learn from" in text
    assert "Annotations need boxes: a person's, or a detector's (MegaDetector)" in text


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("val_frac:", "val_farc:"), "split.val_farc: no such field; did you mean val_frac?"),
        (("\nsplit:", "\nspilt:"), "spilt: no such field; did you mean split?"),
        (("    annotations:", "    anotations:"), "datasets.p.anotations: no such field; did you mean annotations?"),
        (("max_failures: 0", "max_failures: few"), "max_failures: input should be a valid integer"),
        (
            ("method: optimal", "method: optimum"),
            "split.method: input should be 'optimal', 'random' or 'smallest_first'",
        ),
        (("max_failures: 0", "max_failures: [0"), "is not valid YAML at line "),
        (("max_failures: 0", "max_failures: 0\nmax_failures: 1"), "is not valid YAML at line "),
    ],
)
def test_a_typo_in_the_yaml(root, capsys, wrong, says):
    path = root / "trapline.yaml"
    text = path.read_text()
    assert wrong[0] in text
    path.write_text(text.replace(*wrong, 1))
    before = snapshot(root)
    code, text = say(capsys, "run", "--project", root)
    assert code == 2
    assert str(path) in text
    assert says in text
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("command", "asked", "nearest"),
    [
        ("train", "eficientnet-b3", "efficientnet_b3"),
        ("train", "tf_eficientnet_lite0", "tf_efficientnet_lite0"),
        ("embed", "resnet5", "resnet50"),
    ],
)
def test_an_unknown_model(root, capsys, command, asked, nearest):
    code, text = say(capsys, command, "--model", asked, "--project", root)
    assert code == 2
    assert f"timm has no model named {asked!r}. Nearest names: " in text
    assert nearest in text.split("Nearest names: ")[1]


# -- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    """Mount a small disk of our own: mounted(size, options) -> its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounts = []

    def mount(size: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting a small disk takes rights that this user lacks")
        mounts.append(folder)
        return folder

    yield mount
    for place in mounts:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_disk(mounted, finished, tmp_path, capsys):
    disk = mounted("20m")
    root = shutil.copytree(finished, disk / "p")
    before = snapshot(root)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    bad = Bad(tmp_path / "bad")
    bad.write()
    more = ("--annotations", bad.export, "--images", bad.photos)
    for arguments in (
        ("init", disk / "new", *more),
        ("init", root, "--dataset", "new", *more),
        ("split", "--project", root),
        ("split", "--seed", "1", "--save", "--project", root),
        ("convert", bad.export, "--to", "csv", "-o", disk / "x.csv"),
    ):
        code, text = say(capsys, *arguments)
        assert code == 1, text
        assert "the disk is read-only. Choose a project folder on another disk" in text
    assert say(capsys, "status", "--project", root)[0] == 0
    assert snapshot(root) == before


def test_a_full_disk(mounted, tmp_path, capsys):
    disk = mounted("400k")
    bad = Bad(tmp_path / "bad")
    noise = os.urandom(640 * 480 * 3)
    for k in range(N):
        Image.frombytes("RGB", (640, 480), noise).save(bad.photo(k))
    bad.objects = [{**item, "bbox": [0, 0, 640, 480]} for item in bad.objects]
    bad.write()
    root = disk / "p"
    assert say(capsys, "init", root, "--annotations", bad.export, "--images", bad.photos)[0] == 0
    code, text = say(capsys, "run", "--until", "dataset", "--project", root)
    assert code == 1
    assert "the disk is full. Free some space and run the same command again: finished work is kept" in text
    for crop in (root / "crops").rglob("*.jpg"):
        with Image.open(crop) as image:
            image.load()  # no half files
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert say(capsys, "run", "--until", "dataset", "--project", root)[0] == 0


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_at_any_bar(tmp_path):
    """Each run is interrupted in a later stage (twice by the impatient); a last one ends what they began."""
    root = write_project(tmp_path / "p", draw_small(tmp_path / "drawn"), train=QUICK.model_copy(update={"epochs": 6}))
    command = [sys.executable, "-u", "-m", "trapline", "run", "--project", str(root)]
    ended = []
    for number, stage in enumerate(("fetch", "crop", "split", "train", "predict", "evaluate")):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(stage) and "up to date" not in line:
                break
        time.sleep(0.15)
        for _ in range(1 + number % 2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        _, errors = process.communicate(timeout=120)
        ended.append(process.returncode)
        assert process.returncode in (130, 0), (stage, errors)  # 0: it was done already
        assert "Traceback" not in errors, (stage, errors)
        if process.returncode == 130:
            assert "interrupted. Finished work is kept: the same command continues." in errors
    assert ended.count(130) >= 3, ended
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
