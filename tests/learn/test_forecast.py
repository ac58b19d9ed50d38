import torch

from training import SMALL, draw, run
from trapline.core.config import TrainConfig
from trapline.core.log import Log
from trapline.learn.examples import lesson
from trapline.learn.forecast import forecast
from trapline.learn.transforms import Transform


def test_what_is_forecast_is_what_it_takes(tmp_path, monkeypatch):
    """Disk and epochs; seconds are only sane here, where other tests run beside."""
    monkeypatch.setattr("trapline.core.cores.usable_cores", lambda: 1)
    examples, splits = draw(tmp_path / "crops")
    cfg = TrainConfig.model_validate({**SMALL.model_dump(), "epochs": 2})
    task = lesson(examples, splits, cfg, tmp_path / "crops", Log()).task(tmp_path / "crops", multilabel=False)
    found = forecast(task, cfg, Transform(32), folder=tmp_path / "trial", device=torch.device("cpu"), threads=1)
    run(tmp_path, examples, splits, cfg)
    sizes = sum(path.stat().st_size for path in (tmp_path / "run/checkpoints").iterdir())
    assert 0.75 < (found.disk - (3 << 20)) / sizes < 1.25
    assert found.peak > found.disk
    assert (found.crops, found.val_crops, found.epochs) == (18, 9, 2)
    assert found.memory > 50_000_000
    assert 0 < found.epoch_s < found.total_s < 600
