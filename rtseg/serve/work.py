"""Images through the network, one after another, beside the event loop.

An image is decoded, segmented and encoded in threads. A few images are on this way at once, so that the network does
not wait for decoding; the others wait for their turn as the bytes of their files.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
import torch

from rtseg.deploy.asked import AUTO
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.predictor import Predictor, load
from rtseg.errors import UserError
from rtseg.page.network import USUAL_SIZE
from rtseg.scenes.scene import draw_scene
from rtseg.serve.answers import RESULTS, Answer, Asked, encode, predict
from rtseg.serve.decode import decode
from rtseg.serve.limits import Limits, Refused

_IN_WORK = 3  # images: one is decoded, one is in the network, one is encoded

Found = TypeVar("Found")


def load_prepared(network: str, *, engine: str = AUTO, device: str | None = None) -> Predictor:
    """A predictor whose engine is chosen for all sizes: "auto" is measured once, for the size of the training.

    Args:
        network, engine, device: see `rtseg.deploy.predictor.load`.

    Raises:
        UserError: see there; or the network does not take RGB images.
    """
    predictor = load(network, engine=engine, device=device)
    if predictor.card.channels is not None:
        raise UserError(
            f"{predictor.card.model} takes images of {predictor.card.channels} channels at their full depth, and "
            "`rtseg serve` RGB images alone: `rtseg predict` takes its files"
        )
    if predictor.runner.engine != AUTO:
        return predictor
    chosen = predictor.explain(_example(predictor)).engine
    return load(network, engine=chosen, device=device) if parse_backend(chosen)[0].open_sizes else predictor


def _example(predictor: Predictor) -> np.ndarray:
    """A drawn street of the size that the network is made for, (H, W, 3) uint8 RGB."""
    return draw_scene(np.random.default_rng(0), predictor.fixed_size or predictor.card.input_size or USUAL_SIZE)[0]


class Work:
    """The way of an image through a server.

    Args:
        predictor: the network.
        limits: of the server.

    Attributes:
        engine: the name of the engine that runs the network.
        inside: requests that are waiting or in work.
        waiting: those of them that wait.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor, self._limits = predictor, limits
        self._example = _example(predictor)
        threads = torch.get_num_threads()
        self._network = ThreadPoolExecutor(1, "network", torch.set_num_threads, (threads,))
        self._codec = ThreadPoolExecutor(2, "codec", torch.set_num_threads, (threads,))
        self._room = asyncio.Semaphore(_IN_WORK)  # first come, first served
        self.inside = self.waiting = 0

    @property
    def engine(self) -> str:
        taken = self._predictor.runner.choices()
        return taken[-1].engine if taken else self._predictor.runner.engine

    def prepare(self) -> None:
        """Builds the engine, and runs each kind of answer once, so that the first request is as fast as others."""
        for asked in (*map(Asked, RESULTS), Asked("json", polygons=True)):
            found = self._network.submit(predict, self._predictor, self._example, asked).result()
            self._codec.submit(encode, self._predictor, found, asked, {}).result()

    async def segment(self, data: bytes, asked: Asked) -> Answer:
        """The answer to a request. Where it is cancelled, what has not begun is not begun.

        Args:
            data: the bytes of an image file.

        Raises:
            Refused: the image cannot be read, the network does not take it, or too many others are here.
        """
        milliseconds = {"waiting": 0.0}
        async with self._turn(milliseconds):
            try:
                pixels = await _timed(self._codec, "decoding", milliseconds, decode, data, self._limits.pixels)
                found = await _timed(self._network, "network", milliseconds, predict, self._predictor, pixels, asked)
                del pixels
                return await _timed(
                    self._codec, "encoding", milliseconds, encode, self._predictor, found, asked, milliseconds
                )
            except UserError as error:
                raise Refused(422, str(error)) from None
            except MemoryError:
                raise Refused.busy("there is no memory for this image now") from None

    @asynccontextmanager
    async def _turn(self, milliseconds: dict[str, float]) -> AsyncIterator[None]:
        """Waits until an image is among those in work. Raises: Refused where too many others are here."""
        if self.inside >= self._limits.parallel:
            raise Refused.busy(f"{self._limits.parallel} requests are waiting or in work")
        self.inside += 1
        try:
            self.waiting += 1
            begin = time.perf_counter()
            try:
                await self._room.acquire()
            finally:
                self.waiting -= 1
            milliseconds["waiting"] = _since(begin)
            try:
                yield
            finally:
                self._room.release()
        finally:
            self.inside -= 1

    def close(self) -> None:
        """What has not begun is not begun; what the network has begun it ends."""
        for pool in (self._network, self._codec):
            pool.shutdown(wait=False, cancel_futures=True)


async def _timed(
    pool: ThreadPoolExecutor, stage: str, milliseconds: dict[str, float], work: Callable[..., Found], *arguments: Any
) -> Found:
    """What `work` returns in a thread of the pool; the time before it begins is waiting."""
    asked = time.perf_counter()

    def timed() -> Found:
        milliseconds["waiting"] = round(milliseconds["waiting"] + _since(asked), 3)
        begin = time.perf_counter()
        try:
            return work(*arguments)
        finally:
            milliseconds[stage] = _since(begin)

    return await asyncio.get_running_loop().run_in_executor(pool, timed)


def _since(begin: float) -> float:
    return round(1000 * (time.perf_counter() - begin), 3)
