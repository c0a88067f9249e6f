"""Memory over images of many sizes, and one predictor in eight threads: on the engine of "auto", and on each."""

import ast
import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tools.torture import materials
from tools.torture.outcome import Outcome
from tools.torture.worker import Answer, Worker, resident

_GROWTH = 40.0  # MB from the first third of the time to the last, of threads
# MB from the first third of many sizes to the last. A graph that is kept for each size would take 400. oneDNN keeps its
# last 1024 kernels, and is not yet full after the first third: eager grows by 43, and by 20 where it keeps 64.
_NEW_SIZES = 60.0
_AGAIN = 20.0  # MB that the same sizes may add when they come again: ONNX Runtime takes 8, once
_THREADS = 8
_DIFFERENT = 24  # images, whose sizes come again and again
_SAMPLES = 100  # of the memory


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """300 images (150 if quick) through each engine, twice; then threads for 10 minutes (40 seconds) in all."""
    checkpoint = materials.train(folder) / "best.ckpt"
    names = engines(checkpoint)
    for name in ("auto", *names):
        with Worker() as worker:  # a new process: memory that an engine has left would serve the next one
            answer = worker.run(growth, checkpoint, name, 150 if quick else 300, clock=1200)
        yield _growth_outcome(name, answer)
    with Worker() as worker:
        for name in names:
            lasts = (40 if quick else 600) / len(names)
            answer = worker.run(threads, checkpoint, name, lasts, clock=lasts + 300)
            yield _threads_outcome(name, answer)


def _growth_outcome(engine: str, answer: Answer) -> Outcome:
    case = f"memory over images of many sizes, {engine}"
    if answer.kind != "returned":
        return Outcome(case, False, str(answer.fault), answer.seconds)
    grown, again = ast.literal_eval(answer.said)
    said = f"grows by {grown:.1f} MB after the first third, and by {again:.1f} when they come again"
    return Outcome(case, grown < _NEW_SIZES and again < _AGAIN, said, answer.seconds)


def _threads_outcome(engine: str, answer: Answer) -> Outcome:
    case = f"{_THREADS} threads call one predictor of {engine}"
    if answer.kind != "returned":
        return Outcome(case, False, f"{answer.kind}: {answer.said}", answer.seconds)
    made, wrong, grown = ast.literal_eval(answer.said)
    said = f"{made} class maps, {wrong} differ from those of one thread; grows by {grown:.1f} MB after the first third"
    return Outcome(case, wrong == 0 < made and grown < _GROWTH, said, answer.seconds)


def images(number: int) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of sides from 16 to 640."""
    draw = np.random.default_rng(15)
    for _ in range(number):
        height, width = (int(side) for side in draw.integers(16, 641, 2))
        yield draw.integers(0, 256, (height, width, 3), dtype=np.uint8)


def growth(checkpoint: Path, engine: str, number: int) -> tuple[float, float]:
    """Megabytes by which this process is larger in the last third of the images than in their first, and by which it is
    larger when all of them have come a second time.
    """
    import rtseg

    os.environ["RTSEG_CACHE"] = str(checkpoint.parent / "cache")  # so that "auto" measures
    segment = rtseg.load(checkpoint, engine=engine, device="cpu")
    rounds: list[list[float]] = [[], []]
    for sizes in rounds:
        for image in images(number):
            segment(image)
            trim()
            sizes.append(resident())
    first, second = rounds
    return max(first[-number // 3 :]) - max(first[: number // 3]), max(second) - max(first)


def engines(checkpoint: Path) -> list[str]:
    """The engines here that run a network at any size in float32."""
    from rtseg.deploy.choice import exact_engines
    from rtseg.deploy.engines import parse_backend
    from rtseg.models.segmenter import Segmenter

    names = exact_engines(Segmenter.from_pretrained(checkpoint), torch.device("cpu"))
    return [name for name in names if parse_backend(name)[0].open_sizes]


def threads(checkpoint: Path, engine: str, seconds: float) -> tuple[int, int, float]:
    """Eight threads call one predictor.

    Returns:
        How many class maps they made, how many of these differ from those that one thread makes, and the megabytes by
        which the process was larger at most in the last third of the time than in the first.
    """
    import rtseg

    segment = rtseg.load(checkpoint, engine=engine, device="cpu")
    shown = list(images(_DIFFERENT))
    alone = [segment(image) for image in shown]
    made, wrong = [0] * _THREADS, [0] * _THREADS
    begin = time.monotonic()

    def work(number: int) -> None:
        at = number
        while time.monotonic() < begin + seconds:
            at = (at + 1) % len(shown)
            made[number] += 1
            try:
                wrong[number] += not np.array_equal(segment(shown[at]), alone[at])
            except Exception:
                wrong[number] += 1

    running = [threading.Thread(target=work, args=(k,)) for k in range(_THREADS)]
    for thread in running:
        thread.start()
    sizes = []
    while any(thread.is_alive() for thread in running):
        time.sleep(seconds / _SAMPLES)
        trim()
        sizes.append(resident())
    third = len(sizes) // 3
    return sum(made), sum(wrong), max(sizes[-third:]) - max(sizes[:third])


def trim() -> None:
    """Gives back what glibc keeps of freed memory: pieces of many sizes, a quarter of a megabyte more an image."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda rest: None)(0)
