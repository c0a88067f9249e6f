"""How fast is `rtseg predict` on a folder, beside each of its stages alone, and beside an older checkout?

    python -m benchmarks.predict_folder CHECKPOINT IMAGES [--engine NAME] [--before CHECKOUT] [--rounds 5] [-o FILE]

Each line is images per second and milliseconds an image, wall-clock time for the whole folder:

- reading, network, writing: a stage alone, with nothing beside it, in as many threads as `rtseg predict` gives it.
  Reading decodes the files. The network makes class maps of images in memory, on a CPU several small ones side by side
  (`rtseg.deploy.folder.lanes`). Writing draws, encodes and writes the files.
- whole: `predict_files`, from the files to the files, without starting Python.
- before: the same in the older checkout.

They take turns, so other work meets all alike; a first turn of each, which builds the engines, is not counted. The
class maps in the files are compared with plain PyTorch's (engine "reference"). The last line is JSON.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

WHOLE, BEFORE = "whole", "before"


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def run_quietly(predict_files: Callable[..., Any], predictor: Any, images: str, out: Path) -> float:
    """Seconds for all images; what the command prints goes nowhere. The folder is emptied before."""
    shutil.rmtree(out, ignore_errors=True)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return timed(lambda: predict_files(predictor, [images], out))


def child(network: Path, images: str, out: Path) -> None:
    """In an older checkout: answers each line of the standard input with the seconds of a run."""
    from rtseg.deploy.predictor import load
    from rtseg.models.model_card import ModelCard

    try:
        from rtseg.deploy.folder.predict_files import predict_files
    except ImportError:  # before November 2026
        from rtseg.deploy.predictor import predict_files  # type: ignore[attr-defined, no-redef]
    card = network / "config.json"
    known = {field.name for field in dataclasses.fields(ModelCard)}
    card.write_text(json.dumps({key: value for key, value in json.loads(card.read_text()).items() if key in known}))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    predictor = load(network, device="cpu")
    for _ in sys.stdin:
        print(run_quietly(predict_files, predictor, images, out), file=answers)


class Before:
    """A process of an older checkout that predicts the images when it is asked."""

    def __init__(self, checkout: Path, checkpoint: str, images: str, folder: Path) -> None:
        from rtseg.models.segmenter import Segmenter

        Segmenter.from_pretrained(checkpoint).save_pretrained(folder / "net")
        self.out = folder / BEFORE
        command = [sys.executable, "-P", __file__, "--child", str(folder / "net"), images, "-o", str(self.out)]
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            sys.exit("error: the older checkout ended; what it said stands above")
        return float(line)


class Folder:
    """The images of a folder, and each stage on all of them."""

    def __init__(self, predictor: Any, images: str, folder: Path) -> None:
        from rtseg.data.files import find_images, read_image
        from rtseg.deploy.folder.image_files import Outputs
        from rtseg.deploy.folder.lanes import lanes
        from rtseg.deploy.folder.predict_files import predict_files, stage_threads
        from rtseg.deploy.folder.results import Results

        self.predictor, self.images, self.files = predictor, images, find_images(images)[1]
        self.out = folder / WHOLE
        self._read, self._predict_files = read_image, predict_files
        self._pool, self.threads = ThreadPoolExecutor(stage_threads()), stage_threads()
        self.lanes = lanes(predictor, len(self.files))
        self._pixels = [read_image(file) for file in self.files]
        self._maps = [predictor(pixels) for pixels in self._pixels]
        alone = folder / "writing"
        alone.mkdir()
        self._results = Results(alone, predictor, Outputs(), resume=False, overwrite=True)

    def reading(self) -> float:
        return timed(lambda: list(self._pool.map(self._read, self.files)))

    def network(self) -> float:
        left = iter(self._pixels)

        def work(lane: Any) -> None:
            for pixels in left:  # a list's iterator may be shared by threads
                lane.predict(lambda predictor, image: predictor(image), pixels)

        with ThreadPoolExecutor(len(self.lanes)) as threads:
            return timed(lambda: list(threads.map(work, self.lanes)))

    def writing(self) -> float:
        names = [f"{k}" for k in range(len(self.files))]
        return timed(lambda: list(self._pool.map(self._results.write, self.files, names, self._pixels, self._maps)))

    def whole(self) -> float:
        return run_quietly(self._predict_files, self.predictor, self.images, self.out)

    def equal_percent(self, checkpoint: str) -> float:
        """The part of the pixels in the files whose class is that of plain PyTorch."""
        from rtseg.deploy.predictor import load

        reference, equal, pixels = load(checkpoint, device="cpu", engine="reference"), 0, 0
        root = Path(self.images) if Path(self.images).is_dir() else self.files[0].parent
        for file, image in zip(self.files, self._pixels, strict=True):
            written = cv2.imread(str((self.out / file.relative_to(root)).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
            expected = reference.to_ids(reference(image))
            equal, pixels = equal + int(np.count_nonzero(written == expected)), pixels + expected.size
        return 100 * equal / pixels


def measure(predictor: Any, checkpoint: str, images: str, before: Path | None, rounds: int) -> dict[str, Any]:
    """Images per second of each, the median of the rounds, and their ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(predictor, images, Path(temporary))
        turns: dict[str, Callable[[], float]] = {
            "reading": folder.reading, "network": folder.network, "writing": folder.writing, WHOLE: folder.whole,
        }  # fmt: skip
        if before is not None:
            turns[BEFORE] = Before(before, checkpoint, images, Path(temporary))
        for turn in turns.values():
            turn()
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for number in range(rounds):
            for name in list(turns)[:: 1 if number % 2 else -1]:
                seconds[name].append(turns[name]())
        equal = folder.equal_percent(checkpoint)
    many = len(folder.files)
    speeds = {name: many / float(np.median(own)) for name, own in seconds.items()}
    stages = {name: speeds[name] for name in ("reading", "network", "writing")}
    slowest = min(stages, key=stages.__getitem__)
    # Each round's own ratio: other work on the machine meets all turns of a round.
    ratio = float(np.median(np.array(seconds[slowest]) / np.array(seconds[WHOLE])))
    result = {
        "images": many, "threads_of_a_stage": folder.threads, "lanes": len(folder.lanes),
        "images_per_second": speeds, "slowest_stage": slowest,
        "ms_per_image": {name: 1000 / speed for name, speed in speeds.items()}, "whole_to_slowest_stage": ratio,
        "equal_to_reference_percent": equal,
    }  # fmt: skip
    if before is not None:
        result["whole_to_before"] = float(np.median(np.array(seconds[BEFORE]) / np.array(seconds[WHOLE])))
    return result


def main(args: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("images", help="a folder of images, which are held in memory")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--before", type=Path, help="an older checkout of this repository, on its own PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args(args)
    if arguments.child:
        child(Path(arguments.checkpoint), arguments.images, arguments.output)
        return
    if arguments.before is not None and not (arguments.before / "rtseg").is_dir():
        sys.exit(f"error: --before {arguments.before} is no checkout of this repository")
    from rtseg.deploy.device import describe_device
    from rtseg.deploy.predictor import load

    predictor = load(arguments.checkpoint, engine=arguments.engine, device="cpu")
    result = measure(predictor, arguments.checkpoint, arguments.images, arguments.before, arguments.rounds)
    result["engines"] = [choice.engine for choice in predictor.runner.choices()]
    result["conditions"] = {
        "engine": arguments.engine, "rounds": arguments.rounds, "torch": torch.__version__,
        "threads": torch.get_num_threads(), "device": describe_device(torch.device("cpu")),
    }  # fmt: skip
    for name, speed in result["images_per_second"].items():
        print(f"{name:8} {speed:8.1f} images/s {1000 / speed:8.2f} ms")
    print(f"whole / slowest stage ({result['slowest_stage']}): {result['whole_to_slowest_stage']:.3f}")
    if "whole_to_before" in result:
        print(f"whole / before: {result['whole_to_before']:.2f}")
    print(f"equal to plain PyTorch: {result['equal_to_reference_percent']:.4f} % of the pixels")
    text = json.dumps(result)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
