"""Where the figures of a page come from."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Origin(Protocol):
    """What is known of a run and its evaluation (page.Material says more of each)."""

    @property
    def run(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def done(self) -> Mapping[str, object]: ...
    @property
    def labels(self) -> Sequence[str]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def made_at(self) -> str: ...
    @property
    def versions(self) -> Mapping[str, str]: ...
    @property
    def machine(self) -> str: ...
    @property
    def code(self) -> str: ...


def provenance(material: Origin) -> list[tuple[str, str]]:
    """Where all this comes from, as name and value."""
    params = material.params
    config = params.get("config")
    config = config if isinstance(config, dict) else {}
    versions = params.get("versions")
    trained_with = versions if isinstance(versions, dict) else {}
    transform = params.get("transform")
    sizes = transform if isinstance(transform, dict) else {}
    entries = [
        ("Scores of" if params.get("scores_of") else "Run", params.get("scores_of") or material.run),
        ("Model", params.get("model") or config.get("model")),
        ("Input size", _pixels(params.get("image_size") or config.get("image_size") or sizes.get("image_size"))),
        ("Labels", ", ".join(material.labels) if len(material.labels) <= 30 else f"{len(material.labels)}"),
        ("Best epoch", material.done.get("best_epoch")),
        ("Epochs trained", material.done.get("epochs")),
        ("Trained with", ", ".join(f"{name} {version}" for name, version in trained_with.items())),
        ("Trained on", params.get("machine")),
        ("Trained by", params.get("code")),
        ("Training data fingerprint", params.get("fingerprint")),
        ("Evaluated data fingerprint", material.fingerprint),
        ("Evaluated with", ", ".join(f"{name} {version}" for name, version in material.versions.items())),
        ("Evaluated on", material.machine),
        ("Evaluated by", f"trapline {material.code}" if material.code else ""),
        ("Evaluated at", material.made_at),
    ]
    return [(name, str(value)) for name, value in entries if value not in (None, "")]


def _pixels(size: object) -> str:
    return f"{size} × {size} px" if isinstance(size, int) else ""
