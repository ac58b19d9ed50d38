"""TorchServe's archive: the TorchScript file, the handler, and the modules of trapline that the handler imports."""

import ast
import io
import re
import zipfile
from pathlib import Path

import msgspec

import trapline
from trapline.apps.export_model import handler as handler_module
from trapline.apps.export_model import torchscript
from trapline.apps.predict_images.classifier import Classifier
from trapline.formats.artifact import FILE, Artifact
from trapline.io import atomic

SOURCE = Path(trapline.__file__).parent
REQUIRED = ("numpy", "pillow", "simplejpeg", "pyvips", "pyvips-binary", "msgspec")
SERVED_BY = "python"
TIME = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same content


def export(found: Classifier, artifact: Artifact, folder: Path) -> list[Path]:
    """Write <run>.mar, and beside it index_to_name.json."""
    (model,) = torchscript.export(found, artifact, folder)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", artifact.run)
    index = msgspec.json.encode(artifact.index_to_name())
    manifest = {
        "archiverVersion": "0.12.0",
        "runtime": SERVED_BY,
        "model": {
            "modelName": name,
            "modelVersion": "1.0",
            "serializedFile": torchscript.NAME,
            "handler": "handler.py",
            "requirementsFile": "requirements.txt",
        },
    }
    content = {
        "MAR-INF/MANIFEST.json": msgspec.json.encode(manifest),
        torchscript.NAME: model.read_bytes(),
        "handler.py": Path(handler_module.__file__).read_bytes(),
        FILE: artifact.to_json().encode(),
        "index_to_name.json": index,
        "requirements.txt": "\n".join([*REQUIRED, ""]).encode(),
        **{f"trapline/{path}": (SOURCE / path).read_bytes() for path in imported(Path(handler_module.__file__))},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path, TIME), data)
    target = folder / f"{name}.mar"
    atomic.replace(target, lambda stream: stream.write(buffer.getbuffer()))
    atomic.replace(folder / "index_to_name.json", lambda stream: stream.write(index))
    return [target, folder / "index_to_name.json"]


def imported(begin: Path) -> list[str]:
    """Files of trapline, relative to its folder, that a module needs: what it imports, and so on, and its packages."""
    needed: set[Path] = {SOURCE / "__init__.py"}
    waiting = [begin]
    while waiting:
        for path in _imports(waiting.pop()):
            if path not in needed:
                needed.add(path)
                waiting.append(path)
    return sorted(path.relative_to(SOURCE).as_posix() for path in needed)


def _imports(module: Path) -> set[Path]:
    found: set[Path] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "trapline" and rest:
                found |= {path for path in _files(rest) if path.is_file()}
    return found


def _files(parts: list[str]) -> list[Path]:
    """The file of a module, and the __init__.py of every package around it."""
    packages = [SOURCE.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [*packages, SOURCE.joinpath(*parts).with_suffix(".py")]
