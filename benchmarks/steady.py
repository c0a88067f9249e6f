"""What steady masks cost and bring, for every lead and every motion that might be allowed.

    python -m benchmarks.steady CHECKPOINT DATA [--film FILE] [--frames 100] [-o FILE]

Each table has the flicker (`rtseg.speed.flicker`), against the plain class maps', by lead and levels of grey:

- drive: the validation images of DATA, in CamVid's layout, in their order; also the mIoU, and the flicker of pixels
  whose label stays the same, too.
- drive, margins alone: the same for a file that puts out class maps and margins, for the rule as it is.
- still: one of them again and again, each time with the noise of a camera (standard deviation 4 and 8 of 255 levels)
  and as JPEG of quality 80.
- film: its first frames.

The network runs once for each frame. Class map, margin and steady step take turns on the logits of
the drive. The last line is JSON.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from rtseg.data.dataset import IGNORE, create_dataset
from rtseg.deploy.class_map import class_map, class_map_and_margin
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import Predictor, load
from rtseg.deploy.video.steady import LEAD, STILL, Steady, smooth_grey
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.speed.flicker import Flicker

LEADS = (0.0, 0.3, 0.5, LEAD, 1.0, 1.5, 2.0)
LEVELS = (3, 4, 6, 10, 256)
NOISES = (4, 8)
STILL_FRAMES = 24
CLASSES = 11
Row = dict[str, Any]


def scored(
    images: Sequence[np.ndarray], found: Sequence[Prediction], masks: Sequence[np.ndarray], lead: float, still: int
) -> Row:
    """What comes of one lead and one motion; without masks the flicker alone."""
    steady, flicker = Steady(lead, still), Flicker()
    maps = [steady.next(image, one) for image, one in zip(images, found, strict=True)]
    for image, classes in zip(images, maps, strict=True):
        flicker.add(image, classes)
    row: Row = {"lead": lead, "still": still, "flicker": flicker.share}
    if masks:
        pairs = [(torch.from_numpy(one), torch.from_numpy(mask)) for one, mask in zip(maps, masks, strict=True)]
        row["miou"] = mean_iou(torch.stack([confusion_matrix(*pair, CLASSES) for pair in pairs]).sum(0)).item()
        row["flicker_where_labels_stay"] = labels_stay(images, maps, masks)
    return row


def labels_stay(images: Sequence[np.ndarray], maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """The flicker of pixels that do not move and keep their label."""
    greys, stay, changed = [smooth_grey(image) for image in images], 0, 0
    for k in range(1, len(images)):
        pixels = (cv2.absdiff(greys[k], greys[k - 1]) < STILL) & (masks[k] == masks[k - 1]) & (masks[k] != IGNORE)
        stay += int(pixels.sum())
        changed += int((pixels & (maps[k] != maps[k - 1])).sum())
    return changed / stay


def noisy(image: np.ndarray, deviation: float) -> list[np.ndarray]:
    """The same scene through a camera."""
    draw, made = np.random.default_rng(0), []
    for _ in range(STILL_FRAMES):
        seen = np.clip(image + draw.normal(0, deviation, image.shape), 0, 255).astype(np.uint8)
        jpeg = io.BytesIO()
        Image.fromarray(seen).save(jpeg, "JPEG", quality=80)
        made.append(np.asarray(Image.open(jpeg)))
    return made


def film_frames(file: Path, number: int) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB of the first frames."""
    film, frames = cv2.VideoCapture(str(file)), list[np.ndarray]()
    while len(frames) < number and film.grab():
        frames.append(cv2.cvtColor(film.retrieve()[1], cv2.COLOR_BGR2RGB))
    return frames


def table(
    name: str, predictor: Predictor, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] = ()
) -> tuple[list[Row], list[Prediction]]:
    """Prints and returns what comes of every lead and motion, and what the network said."""
    found = [predictor.prediction_of(image) for image in images]
    plain = scored(images, found, masks, 0, STILL)
    rows = [scored(images, found, masks, lead, still) for lead in LEADS[1:] for still in LEVELS]
    print(f"{name}: {len(images)} frames")
    for row in (plain, *rows):
        line = f"  lead {row['lead']:.2f}, levels {row['still']:3d}: flicker {100 * row['flicker']:.3f} %"
        line += f", {row['flicker'] / plain['flicker']:.3f} of plain"
        if masks:
            stay = row["flicker_where_labels_stay"], plain["flicker_where_labels_stay"]
            line += f"; where labels stay {100 * stay[0]:.3f} %, {stay[0] / stay[1]:.3f} of plain"
            line += f"; mIoU {100 * row['miou']:.2f} ({100 * (row['miou'] - plain['miou']):+.2f})"
        print(line, flush=True)
    return [plain, *rows], found


def margins_alone(images: Sequence[np.ndarray], found: Sequence[Prediction], masks: Sequence[np.ndarray]) -> list[Row]:
    """The same for a file that puts out class maps and margins: plain, and by the rule as it is."""
    known = [replace(one, logits=None, file_margin=one.margin) for one in found]
    rows = [scored(images, known, masks, lead, STILL) for lead in (0, LEAD)]
    print(
        "drive, margins alone:",
        *(f"flicker {100 * row['flicker']:.3f} %, mIoU {100 * row['miou']:.2f}" for row in rows),
    )
    return rows


def milliseconds(images: Sequence[np.ndarray], found: Sequence[Prediction]) -> dict[str, float]:
    """Median times, one after another at each frame."""
    steady, size = Steady(), (images[0].shape[0], images[0].shape[1])
    seconds: dict[str, list[float]] = {"class map": [], "class map and margin": [], "steady step": []}
    for image, one in zip(images, found, strict=True):
        assert one.logits is not None
        works: list[Callable[[], object]] = [
            partial(class_map, one.logits, size),
            partial(class_map_and_margin, one.logits, size),
            partial(steady.next, image, one),
        ]
        for name, work in zip(seconds, works, strict=True):
            begin = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - begin)
    return {name: 1000 * float(np.median(values)) for name, values in seconds.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data", type=Path)
    parser.add_argument("--film", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    predictor, dataset = (
        load(asked.checkpoint, engine="eager", device="cpu"),
        create_dataset("camvid", asked.data, "val"),
    )
    samples = [dataset[k] for k in range(len(dataset))]
    images, tables = [one.image for one in samples], dict[str, list[Row]]()
    tables["drive"], found = table("drive", predictor, images, [one.mask for one in samples])
    tables["drive, margins alone"] = margins_alone(images, found, [one.mask for one in samples])
    for deviation in NOISES:
        name = f"still, noise {deviation}"
        tables[name], _ = table(name, predictor, noisy(images[len(images) // 2], deviation))
    if asked.film:
        tables["film"], _ = table("film", predictor, film_frames(asked.film, asked.frames))
    times = milliseconds(images, found)
    print(", ".join(f"{name} {value:.2f} ms" for name, value in times.items()))
    text = json.dumps({"tables": tables, "milliseconds": times})
    if asked.output:
        asked.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
