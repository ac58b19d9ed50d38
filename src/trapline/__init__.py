"""trapline: from camera-trap annotations to a species classifier that holds up at cameras it has never seen.

Everything public is loaded on first use (PEP 562), so that `import trapline` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_STAGES = ("ingest", "fetch", "crop", "dataset", "split", "embed", "train", "predict", "evaluate")
_PUBLIC = {
    "Project": "trapline.project",
    "init": "trapline.apps.init",
    "from_old": "trapline.apps.from_old",
    "labels": "trapline.apps.labels",
    "convert": "trapline.apps.convert",
    "doctor": "trapline.apps.doctor",
    "compare": "trapline.apps.compare",
    "predict_images": "trapline.apps.predict_images",
    "Log": "trapline.core.log",
    **{name: f"trapline.stages.{name}" for name in _STAGES},
    **{f"{name.title()}Config": "trapline.core.config" for name in (*_STAGES, "project")},
}

if TYPE_CHECKING:
    from trapline.apps.compare import compare as compare
    from trapline.apps.convert import convert as convert
    from trapline.apps.doctor import doctor as doctor
    from trapline.apps.from_old import from_old as from_old
    from trapline.apps.init import init as init
    from trapline.apps.labels import labels as labels
    from trapline.apps.predict_images import predict_images as predict_images
    from trapline.core.log import Log as Log
    from trapline.project import Project as Project


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trapline' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
