"""How many training images a second does a core read and augment: rtseg, mmsegmentation's and PaddleSeg's definitions?

    python -m benchmarks.augmentation [--root CAMVID] [--number N] [--rounds N] [-o FILE.json]

Both others are written out from their configurations (`rival_augmentations.py`). All take turns in one process on one
thread, image sets in CamVid's layout: the given one (or drawn scenes), and N of its images enlarged to Cityscapes'
2048x1024 as PNG and as JPEG, with grain. Time is the processor's, so that other work on the machine counts little.
The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations
import cv2
import numpy as np
import PIL
import torch

from benchmarks.rival_augmentations import MMSEGMENTATION, PADDLESEG, Draft, Pipeline
from rtseg.data import create_dataset
from rtseg.data.augment import TrainAugment
from rtseg.data.cache import open_cache
from rtseg.data.dataset import SegmentationDataset
from rtseg.data.files import read_image, read_mask
from rtseg.deploy.device import choose_device, describe_device
from rtseg.errors import UserError
from rtseg.output.folders import make_folder, write_whole
from rtseg.scenes.layouts import make_data
from rtseg.training.datamodule import _collate_train

CITY, GRAIN = (2048, 1024), 2.0  # width, height; with grain a PNG has 3 MB, as in Cityscapes
Work = Callable[[int, int], Any]  # number of the image, seed -> its sample


def enlarge(data: SegmentationDataset, output: Path, number: int, suffix: str) -> Path:
    """`number` pairs of a data set at Cityscapes' size, in CamVid's layout."""
    rng = np.random.default_rng(0)
    for k, index in enumerate(np.linspace(0, len(data) - 1, number).astype(int)):
        image_file, mask_file = data.pairs[index]
        image = cv2.resize(read_image(image_file), CITY, interpolation=cv2.INTER_CUBIC).astype(np.int16)
        image += rng.normal(0, GRAIN, image.shape[:2]).astype(np.int16)[..., None]
        mask = cv2.resize(read_mask(mask_file), CITY, interpolation=cv2.INTER_NEAREST)
        for folder, name, pixels in (
            ("train", f"{k}{suffix}", image.clip(0, 255).astype(np.uint8)[..., ::-1]),
            ("trainannot", f"{k}.png", mask),
        ):
            (output / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(output / folder / name), pixels)
    return output


def rtsegs(data: SegmentationDataset, crop: tuple[int, int]) -> Work:
    """What a loader process of rtseg does."""
    augment = TrainAugment(crop)
    return lambda index, seed: augment(data[index], seed)


def written_out(pipeline: Pipeline, data: SegmentationDataset, crop: tuple[int, int]) -> Work:
    """What a loader process does under a definition of others."""

    def work(index: int, seed: int) -> Draft:
        draft = Draft(data.pairs[index], crop, np.random.default_rng(seed))
        for _, step in pipeline:
            step(draft)
        return draft

    return work


def rates(works: dict[str, Work], number: int, rounds: int) -> dict[str, list[float]]:
    """Name -> milliseconds of processor time an image, of each round; an epoch each in turns, after one that warms up.

    Which comes first changes with every round.
    """
    names = list(works)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.process_time()
            for index in range(number):
                works[name](index, turn * number + index)
            if turn:
                found[name].append(1e3 * (time.process_time() - begin) / number)
    return found


def stages(pipeline: Pipeline, data: SegmentationDataset, crop: tuple[int, int], rounds: int) -> dict[str, float]:
    """Milliseconds an image of each step."""
    spent = dict.fromkeys((name for name, _ in pipeline), 0.0)
    for seed in range(rounds * len(data)):
        draft = Draft(data.pairs[seed % len(data)], crop, np.random.default_rng(seed))
        for name, step in pipeline:
            begin = time.process_time()
            step(draft)
            spent[name] += time.process_time() - begin
    return {name: round(1e3 * value / (rounds * len(data)), 3) for name, value in spent.items()}


def rtsegs_steps(data: SegmentationDataset, crop: tuple[int, int]) -> Pipeline:
    """rtseg's own road as steps, to time each."""
    compose = TrainAugment(crop)._pipeline
    scaled, flip, distort = compose.transforms

    def read(draft: Draft) -> None:
        draft.image = data.read(draft.files[0])

    def read_labels(draft: Draft) -> None:
        draft.mask = data.mask(data.pairs.index(draft.files))

    def through(transform: Any) -> Callable[[Draft], None]:
        def step(draft: Draft) -> None:
            out = transform(image=draft.image, mask=draft.mask)
            draft.image, draft.mask = out["image"], out["mask"]

        return step

    def to_tensors(draft: Draft) -> None:
        pixels = np.empty((3, *crop), np.uint8)
        cv2.split(draft.image, list(pixels))
        draft.tensors = torch.from_numpy(pixels), torch.from_numpy(np.array(draft.mask))

    return (
        ("read the image", read), ("read the labels", read_labels), ("scale, crop", through(scaled)),
        ("flip", through(flip)), ("distort", through(distort)), ("to tensors", to_tensors),
    )  # fmt: skip


def case(root: Path, crop: tuple[int, int], number: int, rounds: int, scratch: Path) -> dict[str, Any]:
    """All figures of one data set."""
    data, cached = (create_dataset("camvid", root, "train") for _ in range(2))
    for dataset in (data, cached):
        dataset.pairs = dataset.pairs[:: max(1, len(dataset.pairs) // number)][:number]
    cached.cache = open_cache(str(scratch), "camvid", root)
    works = {
        "rtseg": rtsegs(data, crop),
        "rtseg, data.cache": rtsegs(cached, crop),
        "mmsegmentation": written_out(MMSEGMENTATION, data, crop),
        "PaddleSeg": written_out(PADDLESEG, data, crop),
    }
    found = rates(works, len(data), rounds)
    samples = [rtsegs(data, crop)(k % len(data), k) for k in range(8)]
    begin = time.process_time()
    for _ in range(rounds):
        _collate_train(samples)
    collate = 1e3 * (time.process_time() - begin) / (8 * rounds)
    pixels = crop[0] * crop[1]
    pipelines = {"rtseg": rtsegs_steps(data, crop), "mmsegmentation": MMSEGMENTATION, "PaddleSeg": PADDLESEG}
    return {
        "images": len(data),
        "size": data[0].size,
        "crop": crop,
        "KB an image": round(statistics.mean(image.stat().st_size for image, _ in data.pairs) / 1e3, 1),
        "ms an image": {name: round(statistics.median(values), 3) for name, values in found.items()},
        "images/s a core": {name: round(1e3 / statistics.median(values), 1) for name, values in found.items()},
        "times faster than": {
            f"{ours} / {other}": _ratios(found[other], found[ours])
            for ours in ("rtseg", "rtseg, data.cache")
            for other in ("mmsegmentation", "PaddleSeg")
        },
        "rounds, ms": {name: [round(value, 3) for value in values] for name, values in found.items()},
        "steps, ms": {name: stages(steps, data, crop, rounds) for name, steps in pipelines.items()},
        "collate, ms": round(collate, 3),
        "bytes an image to the device": {
            "rtseg": 4 * pixels, "mmsegmentation": (3 + 8) * pixels, "PaddleSeg": (12 + 8) * pixels,
        },
    }  # fmt: skip


def _ratios(slow: list[float], fast: list[float]) -> list[float]:
    """Median, least and greatest ratio of a round."""
    ratios = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return [round(value, 2) for value in (statistics.median(ratios), ratios[0], ratios[-1])]


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All figures of all data sets."""
    root = arguments.root or make_data("camvid", arguments.number, scratch / "drawn")
    frames = create_dataset("camvid", root, "train")
    city = max(2, arguments.number // 4)
    sets = {"CamVid": (root, (360, 480), arguments.number)}
    for suffix in (".png", ".jpg"):
        folder = enlarge(frames, scratch / f"city{suffix[1:]}", city, suffix)
        sets[f"2048x1024 {suffix[1:].upper()}"] = (folder, (512, 1024), city)
    return {
        "device": describe_device(choose_device("cpu")),
        "versions": {module.__name__: module.__version__ for module in (cv2, np, PIL, albumentations, torch)},
        "sets": {
            name: case(folder, crop, number, arguments.rounds, scratch / f"cache {k}")
            for k, (name, (folder, crop, number)) in enumerate(sets.items())
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="CamVid's folder; by default scenes are drawn")
    parser.add_argument("--number", type=int, default=48, help="images of CamVid; a quarter of them is enlarged")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each, in turns")
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        for name, least in (("number", 2), ("rounds", 1)):
            if getattr(arguments, name) < least:
                raise UserError(f"--{name} {getattr(arguments, name)} must be at least {least}")
        if arguments.output is not None:
            make_folder(arguments.output.parent)
        with tempfile.TemporaryDirectory() as scratch:
            results = measure(arguments, Path(scratch))
    except UserError as error:
        sys.exit(f"error: {error}")
    for name, result in results["sets"].items():
        print(name, *(f"{who} {rate:.1f}" for who, rate in result["images/s a core"].items()), sep="   ")
    text = json.dumps(results)
    if arguments.output is not None:
        write_whole(arguments.output, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
