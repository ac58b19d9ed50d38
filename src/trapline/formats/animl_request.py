"""Animl's request to a classifier: an image and a box (FORMATS: Animl's inference endpoint)."""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from trapline.core.errors import InputError
from trapline.core.geometry import GivenBox
from trapline.io.boxed import WHOLE

MAX_BOX_TEXT = 400  # characters of a box in its string form


def parse(body: bytes | str | Mapping[str, Any]) -> tuple[bytes, GivenBox]:
    """The image's bytes and the box, of `{"image": base64, "bbox": [ymin, xmin, ymax, xmax]}`.

    Raises:
        InputError: Says what is wrong with the request.
    """
    if isinstance(body, (bytes, str, bytearray)):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InputError(f"the request is not JSON: {error}") from None
    if not isinstance(body, Mapping):
        raise InputError('the request is not a JSON object {"image": ..., "bbox": ...}')
    return _image(body.get("image")), box_of(body.get("bbox"))


def _image(given: object) -> bytes:
    if isinstance(given, str):
        try:
            found = base64.b64decode(given, validate=False) if "\n" in given else base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"image is not base64: {error}") from None
    elif isinstance(given, (bytes, bytearray)):  # a multipart upload, or a form that a server has decoded
        found = bytes(given)
    else:
        raise InputError("image is missing: the file's bytes as base64")
    if not found:
        raise InputError("image is empty")
    return found


def box_of(given: object) -> GivenBox:
    """A box given as `[ymin, xmin, ymax, xmax]` in fractions, or as the text of that; None is the whole image.

    Raises:
        InputError: It is none.
    """
    if given is None or given == "":
        return WHOLE
    if isinstance(given, (bytes, bytearray)):
        given = bytes(given).decode("utf-8", "replace")
    if isinstance(given, str):
        if len(given) > MAX_BOX_TEXT:
            raise InputError("bbox is too long")
        try:
            given = msgspec.json.decode("[" + given.strip().strip("[]()") + "]")
        except (msgspec.DecodeError, UnicodeError):
            raise InputError("bbox is not [ymin, xmin, ymax, xmax]") from None
    if not isinstance(given, (list, tuple)) or len(given) != 4:
        raise InputError("bbox is not four numbers [ymin, xmin, ymax, xmax]")
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        raise InputError("bbox holds what is not a number")
    try:
        top, left, bottom, right = (float(value) for value in given)
    except OverflowError:
        raise InputError("bbox holds a number beyond all bounds") from None
    if not all(math.isfinite(value) for value in (top, left, bottom, right)):
        raise InputError("bbox holds a value that is not a number")
    if bottom <= top or right <= left:
        raise InputError("bbox has no area: ymax must be above ymin, xmax above xmin")
    return GivenBox(left, top, right - left, bottom - top, unit="fraction", frame="displayed")
