"""How many images a second does a core read, decode and augment: from folders, from shards, by torchvision and timm?

    python benchmarks/input_pipeline.py [--root FOLDER] [--enlarge N] [--workers N] [-o FILE.json]

All three give batches of the same recipe (RandAugment, colour jitter, uint8) and take turns, an epoch each; then the
stages of one core, one by one. Files come from the page cache after the first epoch. The last line is JSON.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_loader
from timm.data.loader import fast_collate

from pretrain.data.augment import AugmentConfig, seeded, train_transform
from pretrain.data.image_files import decode
from pretrain.data.imagenet import ImageFolder
from pretrain.data.make_shards import write_shards
from pretrain.data.samples import Sample, collate
from pretrain.data.shard_tar import tar_images
from pretrain.datamodule import ImageNetData
from rtseg.deploy.device import choose_device, describe_device
from rtseg.errors import UserError
from rtseg.output.folders import make_folder, write_whole
from rtseg.scenes.layouts import make_data

MEAN_SIZE = (500, 375)  # of ImageNet's images, which have 110 KB in the mean
QUALITY, GRAIN = 96, 5.5  # make enlarged pictures about as many bytes


def enlarge(root: Path, output: Path, number: int) -> Path:
    """About `number` training images and one validation image of each class, in ImageNet's mean size; with grain, since
    an enlarged picture has fewer bytes to decode than a photograph of its size.
    """
    rng = np.random.default_rng(0)
    for split, most in (("train", number), ("val", 0)):
        images = ImageFolder(root, split)
        spread = np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)
        first = [np.argmax(images.labels == label) for label in range(len(images.classes))]  # no class may be empty
        for index in sorted({int(index) for index in (*first, *spread)}):
            image, label, _ = images.read(index)
            file = output / split / images.classes[label] / f"{index}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            size = MEAN_SIZE if image.width >= image.height else MEAN_SIZE[::-1]
            pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.int16)
            grain = rng.normal(0, GRAIN, pixels.shape[:2]).astype(np.int16)[..., None]
            Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return output


def torchvision_and_timm(root: Path, config: AugmentConfig, batch_size: int, workers: int) -> Iterable[Any]:
    """Batches as timm's train.py makes them of class folders, before they go to the device."""
    dataset = torchvision.datasets.ImageFolder(str(root / "train"))
    loader: Any = create_loader(
        dataset, config.image_size, batch_size, is_training=True, num_workers=workers, device=torch.device("cpu"),
        persistent_workers=workers > 0,
    )  # fmt: skip
    dataset.transform = train_transform(config)  # create_loader's own leaves colour jitter out
    return loader.loader  # what stands around it normalises, which happens on the device here


def rates(loaders: dict[str, Iterable[Any]], batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Name -> images a second of each round; an epoch each in turns, after one that warms up."""
    found: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(rounds + 1):
        for name, loader in loaders.items():
            begin = time.perf_counter()
            images = batch_size * sum(1 for _ in loader)
            if turn:
                found[name].append(images / (time.perf_counter() - begin))
    return found


def stages(root: Path, shards: Path, config: AugmentConfig, batch_size: int) -> dict[str, float]:
    """Milliseconds that a core works on an image, stage by stage; the quickest of three times."""
    images, transform = ImageFolder(root, "train"), train_transform(config)
    paths = [images.path(index) for index in range(min(len(images), 500))]
    found = {}

    def timed(name: str, work: Callable[[Any], Any], items: list[Any], number: int) -> list[Any]:
        taken = []
        for _ in range(3):
            begin = time.process_time()
            results = [work(item) for item in items]
            taken.append(time.process_time() - begin)
        found[name] = 1e3 * min(taken) / number
        return results

    seeds = itertools.count()

    def augment(image: Image.Image) -> torch.Tensor:
        with seeded(next(seeds)):
            return transform(image)

    number = len(paths)
    data = timed("read a file", Path.read_bytes, paths, number)
    timed("read a shard", lambda tar: list(tar_images(str(tar))), sorted(shards.glob("train-*.tar")), len(images))
    pictures = timed("decode", decode, data, number)
    tensors = timed("augment", augment, pictures, number)
    samples = [[Sample(tensor, 0) for tensor in tensors[k : k + batch_size]] for k in range(0, number, batch_size)]
    timed("collate", collate, samples, number)
    timed(
        "torchvision: read and decode",
        torchvision.datasets.folder.default_loader,
        [str(path) for path in paths],
        number,
    )
    timed("torchvision, timm: augment", transform, pictures, number)
    timed("timm: collate", fast_collate, [[(s.image, s.label) for s in batch] for batch in samples], number)
    return {name: round(value, 3) for name, value in found.items()}


def describe_images(root: Path) -> dict[str, float]:
    """Number, mean bytes and mean megapixels of the training images."""
    images = ImageFolder(root, "train")
    files = [images.path(index) for index in range(len(images))]
    sizes = [Image.open(file).size for file in files[:500]]
    return {
        "images": len(images),
        "mean KB": round(statistics.mean(file.stat().st_size for file in files) / 1e3, 1),
        "mean megapixels": round(statistics.mean(width * height for width, height in sizes) / 1e6, 3),
    }


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All figures."""
    root = arguments.root
    if root is None:
        root = make_data("imagenet", arguments.number, scratch / "drawn")
    if arguments.enlarge:
        root = enlarge(root, scratch / "enlarged", arguments.enlarge)
    index = write_shards(root, scratch / "shards", per_shard=100)
    config, batch_size, workers = AugmentConfig(), arguments.batch_size, arguments.workers
    options: dict[str, Any] = {"batch_size": batch_size, "device_batch_size": batch_size, "num_workers": workers}
    loaders = {
        "folder": ImageNetData(str(root), **options).train_dataloader(),
        "shards": ImageNetData(index.root, **options).train_dataloader(),
        "torchvision + timm": torchvision_and_timm(root, config, batch_size, workers),
    }
    found = rates(loaders, batch_size, arguments.rounds)
    per_second = {name: round(statistics.median(values), 1) for name, values in found.items()}
    return {
        "device": describe_device(choose_device("cpu")),
        "versions": {module.__name__: module.__version__ for module in (torch, torchvision, timm, PIL)},
        "data": describe_images(root),
        "workers": workers,
        "images/s": per_second,
        "images/s a core": {name: round(value / max(workers, 1), 1) for name, value in per_second.items()},
        "rounds": {name: [round(value, 1) for value in values] for name, values in found.items()},
        "ms an image, one core": stages(root, Path(index.root), config, batch_size),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder of train/ and val/; by default pictures are drawn")
    parser.add_argument("--number", type=int, default=400, help="pictures to draw")
    parser.add_argument("--enlarge", type=int, default=0, metavar="N", help="N training images in ImageNet's mean size")
    parser.add_argument("--workers", type=int, default=1, help="of a loader, a core each; 0: the main process")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each, in turns")
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        for name, least in (("number", 1), ("enlarge", 0), ("workers", 0), ("batch_size", 1), ("rounds", 1)):
            if getattr(arguments, name) < least:
                raise UserError(f"--{name.replace('_', '-')} {getattr(arguments, name)} must be at least {least}")
        if arguments.output is not None:
            make_folder(arguments.output.parent)
        with tempfile.TemporaryDirectory() as scratch:
            results = measure(arguments, Path(scratch))
    except UserError as error:
        sys.exit(f"error: {error}")
    for name, rate in results["images/s"].items():
        print(f"{name:20} {rate:7.1f} images/s, {results['images/s a core'][name]:7.1f} a core")
    for name, milliseconds in results["ms an image, one core"].items():
        print(f"  {name:30} {milliseconds:7.3f} ms")
    text = json.dumps(results)
    if arguments.output is not None:
        write_whole(arguments.output, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
