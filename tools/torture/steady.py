"""Memory over images of many sizes, and one predictor in eight threads."""

import ctypes
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.torture import materials
from tools.torture.outcome import Outcome
from tools.torture.worker import Worker, resident

_GROWTH = 40.0  # MB from the first third of the images to the end
_THREADS = 8


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """300 images (90 if quick) through a checkpoint; then threads."""
    run = materials.train(folder)
    with Worker() as worker:
        answer = worker.run(growth, run / "best.ckpt", 90 if quick else 300, clock=1200)
        grown = float(answer.said) if answer.kind == "returned" else 0.0
        said = answer.fault if answer.kind != "returned" else f"grows by {grown:.1f} MB after the first third"
        good = answer.kind == "returned" and grown < _GROWTH
        yield Outcome("memory over images of many sizes", good, str(said), answer.seconds)
        answer = worker.run(threads, run / "best.ckpt", 4 if quick else 40, clock=1200)
        good = answer.kind == "returned" and answer.said == "0"
        said = f"{answer.kind}: {answer.said} class maps differ from those of one thread"
        yield Outcome(f"{_THREADS} threads call one predictor", good, said, answer.seconds)


def images(number: int) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of sides from 16 to 640."""
    draw = np.random.default_rng(15)
    for _ in range(number):
        height, width = (int(side) for side in draw.integers(16, 641, 2))
        yield draw.integers(0, 256, (height, width, 3), dtype=np.uint8)


def growth(checkpoint: Path, number: int) -> float:
    """Megabytes by which this process is larger after all images than its largest in their first third.

    Without what glibc keeps of freed memory: pieces of many sizes, a quarter of a megabyte more with each image.
    """
    import rtseg

    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda rest: None)

    segment = rtseg.load(checkpoint, device="cpu")
    sizes = []
    for image in images(number):
        segment(image)
        trim(0)
        sizes.append(resident())
    return max(sizes[-number // 3 :]) - max(sizes[: number // 3])


def threads(checkpoint: Path, number: int) -> int:
    """How many class maps differ from those that one thread makes."""
    import rtseg

    segment = rtseg.load(checkpoint, device="cpu")
    shown = list(images(number))
    alone = [segment(image) for image in shown]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for k in range(number):
            at = (k + offset) % number
            try:
                wrong.extend([at] * (not np.array_equal(segment(shown[at]), alone[at])))
            except Exception:
                wrong.append(at)
            time.sleep(0)

    running = [threading.Thread(target=work, args=(k,)) for k in range(_THREADS)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return len(wrong)
