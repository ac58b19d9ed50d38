import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trapline.learn.board import Board
from trapline.learn.history import History
from trapline.learn.task import Task
from trapline.learn.transforms import Transform


def task(folder, targets, labels=("ant", "bee")):
    paths = []
    for k in range(len(targets)):
        paths.append(folder / f"{k}.png")
        Image.new("RGB", (20, 20), (10 * k, 0, 0)).save(paths[-1])
    none = np.zeros(0, dtype=np.int64)
    return Task(labels, (), (), targets[:0], np.zeros(0), tuple(paths), targets, none)


def shown(folder):
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    return events


def test_what_is_shown_of_an_epoch(tmp_path):
    truth = np.array([0, 0, 0, 1, 1])
    first = np.array([0.9, 0.8, 0.3, 0.6, 0.2])  # of ant: right, right, missed; wrong, right
    history = History(tmp_path, size=0, epoch=0)
    board = Board(history, task(tmp_path, truth), Transform(16), extremes=1)
    board.batch_to_come(1)
    board.batch(np.full((3, 16, 16, 3), 7, np.uint8), np.array([0, 1, 1]))
    board.batch(np.zeros((3, 16, 16, 3), np.uint8), np.array([0, 1, 1]))  # not the first
    board.epoch(1, np.stack([first, 1 - first], axis=1), better=True)
    history.close()
    events = shown(tmp_path)
    recall = {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}
    assert recall == {"recall/ant": pytest.approx(2 / 3), "recall/bee": pytest.approx(0.5)}
    images = set(events.Tags()["images"])
    kinds = {f"extreme/{label}/{kind}" for label in ("ant", "bee") for kind in ("right", "wrong", "missed")}
    assert kinds <= {name.rsplit("/", 1)[0] if name.count("/") > 2 else name for name in images}
    assert any(name.startswith("train/batch") for name in images)
    assert any(name.startswith("val/confusion") for name in images)
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert "0.900 0.png (ant)" in texts["extreme/ant/right/text_summary"]
    assert "0.600 3.png (bee)" in texts["extreme/ant/wrong/text_summary"]
    assert "0.300 2.png (ant)" in texts["extreme/ant/missed/text_summary"]
    assert texts["train/batch labels/text_summary"] == "ant, bee, bee"


def test_no_pictures_of_single_crops_unless_it_got_better(tmp_path):
    history = History(tmp_path, size=0, epoch=0)
    board = Board(history, task(tmp_path, np.array([[1.0, 1.0], [0, 0]], np.float32)), Transform(16), extremes=1)
    board.epoch(1, np.array([[0.9, 0.2], [0.1, 0.1]]), better=False)
    history.close()
    events = shown(tmp_path)
    assert not events.Tags()["images"]
    assert events.Scalars("recall/ant")[0].value == 1.0
    assert events.Scalars("recall/bee")[0].value == 0.0
