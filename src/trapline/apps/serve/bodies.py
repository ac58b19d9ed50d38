"""A request's body: read within limits of bytes and time, and its multipart fields, all in memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from trapline.apps.serve.refusing import Refusal
from trapline.apps.serve.settings import MOST_BOXES, Settings

PIECE = 1 << 20
LINGER_S = 2.0


async def read(request: Request, settings: Settings) -> bytes:
    """The whole body.

    Raises:
        Refusal: Too large, or too slow, or it broke off.
    """
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and (len(stated) > 15 or int(stated) > settings.max_bytes):
        raise _too_large(settings)
    found = bytearray()
    try:
        async with asyncio.timeout(settings.timeout_s):
            async for piece in request.stream():
                found += piece
                if len(found) > settings.max_bytes:
                    raise _too_large(settings)
    except TimeoutError:
        raise Refusal(408, f"the request's body did not arrive within {settings.timeout_s:g} s") from None
    except ClientDisconnect:
        raise Refusal(400, "the request broke off") from None
    return bytes(found)


def _too_large(settings: Settings) -> Refusal:
    return Refusal(413, f"the request is larger than {settings.max_bytes:,} bytes")


async def linger(request: Request, settings: Settings) -> None:
    """Let a client that is still sending finish, within bounds: before that it does not look at the answer."""
    left = 2 * settings.max_bytes
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(min(LINGER_S, settings.timeout_s)):
            async for piece in request.stream():
                left -= len(piece)
                if left < 0:
                    return


class _InMemory(MultiPartParser):
    """Never writes a picture to a disk."""

    spool_max_size = 1 << 62


async def form(request: Request, body: bytes) -> FormData:
    """The fields of a multipart body.

    Raises:
        Refusal: It is none.
    """

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), PIECE):
            yield body[start : start + PIECE]

    most = MOST_BOXES + 1
    parser = _InMemory(request.headers, pieces(), max_files=most, max_fields=most, max_part_size=len(body))
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"the multipart form cannot be read: {error.message}") from None
    except (ValueError, LookupError, UnicodeError):
        raise Refusal(400, "the multipart form cannot be read") from None


def content_type(request: Request) -> str | None:
    """The media type, without its parameters; None where the header is absent."""
    found = request.headers.get("content-type")
    return found.partition(";")[0].strip().lower() if found is not None else None
