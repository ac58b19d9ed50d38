"""TorchServe's handler: it is put into the archive as it is, with the modules of trapline that it imports.

A request is Animl's: {"image": base64, "bbox": [ymin, xmin, ymax, xmax]}, as JSON or as form fields; the answer is
{label: probability}. What cannot be answered gets status 400 and says why; the others of its batch get their answers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trapline.core.errors import InputError
from trapline.formats.animl_request import parse
from trapline.formats.artifact import FILE, from_json
from trapline.io.boxed import model_inputs
from trapline.io.buffers import Buffers
from trapline.io.images import ImageFailure

DECODED_BYTES = 1_000_000_000
_state: dict[str, Any] = {}


class TraplineHandler:
    """What TorchServe calls: initialize once, then handle."""

    def initialize(self, context: Any) -> None:
        """Load the model that the archive's manifest names."""
        told = context.system_properties
        folder = Path(told["model_dir"])
        self.artifact = from_json((folder / FILE).read_bytes(), FILE)
        gpu = told.get("gpu_id")
        self.device = torch.device(f"cuda:{gpu}" if torch.cuda.is_available() and gpu is not None else "cpu")
        name = context.manifest["model"]["serializedFile"]
        self.network = torch.jit.load(str(folder / name), map_location=self.device).eval()
        self._transform, self._buffers = self.artifact.input, Buffers(DECODED_BYTES)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """One answer per request, in order."""
        crops = [self._crop(request) for request in data]
        good = [crop for crop in crops if isinstance(crop, np.ndarray)]
        rows = iter(self._scores(np.stack(good)) if good else ())
        answers: list[dict[str, Any]] = []
        for number, crop in enumerate(crops):
            if isinstance(crop, str):
                context.set_response_status(code=400, phrase="Bad Request", idx=number)
                answers.append({"error": crop})
            else:
                answers.append(dict(zip(self.artifact.labels, next(rows).tolist(), strict=True)))
        return answers

    def _crop(self, request: dict[str, Any]) -> np.ndarray | str:
        """A request's crop as the model's input, or what is wrong with it."""
        try:
            body = request.get("body", request.get("data", request))
            image, box = parse(body)
            return model_inputs(image, [box], self.artifact.crops, self._transform, self._buffers)[0]
        except (InputError, ImageFailure) as error:
            return str(error)

    def _scores(self, crops: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(torch.from_numpy(crops).to(self.device)).cpu().numpy()


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[dict[str, Any]] | None:
    """TorchServe's entry point; without data it asks for the model to be loaded."""
    if "handler" not in _state:
        _state["handler"] = TraplineHandler()
        _state["handler"].initialize(context)
    return None if data is None else _state["handler"].handle(data, context)
