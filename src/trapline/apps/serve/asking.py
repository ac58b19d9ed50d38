"""What requests ask: photographs and boxes, of JSON and of forms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from starlette.datastructures import FormData, UploadFile

from trapline.apps.serve.refusing import Refusal
from trapline.apps.serve.settings import MOST_BOXES
from trapline.core.errors import InputError
from trapline.core.geometry import GivenBox
from trapline.formats import animl_request
from trapline.io.boxed import WHOLE

BOX_TEXT = 400  # characters of a box
WANTED = "bbox is not a JSON list of four numbers [x, y, w, h], fractions of the image's width and height"


@dataclass(frozen=True)
class Asked:
    """A photograph's bytes, and boxes in it."""

    image: bytes
    boxes: Sequence[GivenBox]


def of_animl(body: bytes) -> Asked:
    """Animl's JSON.

    Raises:
        Refusal: It is none.
    """
    try:
        image, box = animl_request.parse(body)
    except InputError as error:
        raise Refusal(400, str(error)) from None
    return Asked(image, [box])


async def of_animl_form(form: FormData) -> Asked:
    """The same as fields of a form: `image` a file, or base64; `bbox`."""
    image, boxes = _only(form, "image"), form.getlist("bbox")
    if len(boxes) > 1:
        raise Refusal(400, "there is more than one bbox")
    given = await image.read() if isinstance(image, UploadFile) else image
    try:
        data, box = animl_request.parse({"image": given, "bbox": boxes[0] if boxes else None})
    except InputError as error:
        raise Refusal(400, str(error)) from None
    return Asked(data, [box])


async def of_form(form: FormData) -> Asked:
    """The file `image` and any number of `bbox` of a form; without a box the whole image.

    Raises:
        Refusal: A field is missing, or is not what it should be.
    """
    image = _only(form, "image")
    if not isinstance(image, UploadFile):
        raise Refusal(400, "image is not a file: send it with a file name")
    data = await image.read()
    if not data:
        raise Refusal(400, "image is empty")
    texts = form.getlist("bbox")
    if len(texts) > MOST_BOXES:
        raise Refusal(400, f"there are more than {MOST_BOXES} boxes")
    return Asked(data, [box_of(text) for text in texts] or [WHOLE])


def box_of(text: object) -> GivenBox:
    """A box of the text `[x, y, w, h]`: fractions of the displayed image, from its top left corner.

    Raises:
        Refusal: It is none.
    """
    if not isinstance(text, str) or len(text) > BOX_TEXT:
        raise Refusal(400, WANTED)
    try:
        x, y, w, h = msgspec.json.decode(text, type=tuple[float, float, float, float])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Refusal(400, WANTED) from None
    if not all(math.isfinite(value) for value in (x, y, w, h)):
        raise Refusal(400, "bbox holds a value that is not finite")
    if w <= 0 or h <= 0:
        raise Refusal(400, "bbox has no area: width and height must be above 0")
    return GivenBox(x, y, w, h, unit="fraction", frame="displayed")


def _only(form: FormData, name: str) -> UploadFile | str:
    found = form.getlist(name)
    if len(found) != 1:
        raise Refusal(400, f"there is no field {name}" if not found else f"there is more than one field {name}")
    return found[0]
