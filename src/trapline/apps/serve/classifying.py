"""From what a request asks to scores: decoded by a pool of threads, computed in batches with what others ask."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from trapline.apps.serve.answering import Answering
from trapline.apps.serve.asking import Asked
from trapline.apps.serve.batching import Batcher
from trapline.apps.serve.metrics import Metrics
from trapline.apps.serve.refusing import Refusal, busy
from trapline.apps.serve.settings import Settings
from trapline.core.cores import usable_cores
from trapline.core.geometry import GivenBox
from trapline.io.images import ImageFailure, TooLarge
from trapline.io.photo import Photo

MOST_SCANS = 64  # of a progressive JPEG: each costs time for every pixel, and takes some bytes only
Result = TypeVar("Result")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # no others are tried: some start programs


@dataclass(frozen=True)
class Answered:
    """Of one photograph.

    Args:
        size_px: (width, height) as displayed.
        boxes: As asked.
        scores: Per box: float32 [labels], or why there are none.
    """

    size_px: tuple[int, int]
    boxes: Sequence[GivenBox]
    scores: Sequence[np.ndarray | str]


class Classifying:
    """A classifier at work for a server."""

    def __init__(self, model: Answering, settings: Settings):
        self.model, self._settings = model, settings
        self.metrics = Metrics(lambda: self._batcher.waiting)
        self._batcher = Batcher(model.network, settings.batch_size, settings.batch_wait_s, self.metrics.batch_done)
        self._decoding = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decoding")

    def warm(self) -> None:
        """Compute once, so that the first request need not wait for what the network sets up."""
        size = self.model.artifact.input.image_size
        self._batcher.submit(np.zeros((size, size, 3), np.uint8)).result()

    async def answer(self, asked: Asked) -> Answered:
        """Scores of every box.

        Raises:
            Refusal: The photograph cannot be used, or there was no answer in time.
        """
        started: list[Future[np.ndarray]] = []
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                size, inputs = await self.aside(self._inputs, asked)
                given = [crop if isinstance(crop, str) else self._batcher.submit(crop) for crop in inputs]
                started += [future for future in given if isinstance(future, Future)]
                rows = iter(await asyncio.gather(*map(asyncio.wrap_future, started)))
        except TimeoutError:
            raise busy(f"there was no answer within {self._settings.timeout_s:g} s") from None
        finally:
            for future in started:  # of a request that is given up; those that are done stay done
                future.cancel()
        scores = [one if isinstance(one, str) else next(rows) for one in given]
        self.metrics.boxes.labels("answered").inc(len(started))
        self.metrics.boxes.labels("refused").inc(len(scores) - len(started))
        return Answered(size, asked.boxes, scores)

    def _inputs(self, asked: Asked) -> tuple[tuple[int, int], list[np.ndarray | str]]:
        if asked.image[:2] == b"\xff\xd8" and asked.image.count(b"\xff\xda") > MOST_SCANS:
            raise Refusal(400, "image: a JPEG of too many scans")
        try:
            photo = Photo(asked.image, self._settings.max_pixels, FORMATS)
            return photo.header.displayed_px, self.model.inputs_of(photo, asked.boxes)
        except TooLarge as failure:
            raise Refusal(413, f"image is {failure}") from None
        except ImageFailure as failure:
            raise Refusal(400, f"image: {failure}") from None

    async def aside(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run something in the pool of threads that decodes."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, function, *arguments)

    def close(self) -> None:
        """Finish what was begun, and end."""
        self._decoding.shutdown()
        self._batcher.close()
