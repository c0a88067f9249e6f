"""The class map against upsampling and argmax: is it the same, what does it look at, and how long does it take?

    python benchmarks/class_map.py [CHECKPOINT ... --image FILE] [-o FILE.json]

Cases: noise and smooth random logits, also at small scales, and those of checkpoints on a picture. Every pixel is held
against float64: where it separates the best two classes by more than 1e-5 of the largest logit the class must be the
same, elsewhere it must be one of the tied ones. The margin is compared with float64 too, and timed in turns with the
class map. The last line is JSON.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.data.files import find_images, read_image
from rtseg.deploy.class_map import class_map, class_map_and_margin
from rtseg.deploy.class_map.cpu import class_map_cpu
from rtseg.deploy.device import choose_device, describe_device
from rtseg.deploy.fuse import deploy
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.output.folders import make_folder, write_whole
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import measure_together

SIZE = (512, 512)
CLASSES = 150


def cases(checkpoints: list[str], image: str | None) -> dict[str, Tensor]:
    """Name -> (1, K, h, w) logits."""
    generator = torch.Generator().manual_seed(0)
    low = (SIZE[0] // 8, SIZE[1] // 8)
    smooth = F.interpolate(torch.randn(1, CLASSES, 8, 8, generator=generator), size=low, mode="bicubic")
    found = {"noise": torch.randn(1, CLASSES, *low, generator=generator), "smooth random": smooth}
    for scale in (1, 2, 3):
        found[f"noise x{scale}"] = torch.randn(1, CLASSES, SIZE[0] // scale, SIZE[1] // scale, generator=generator)
    for checkpoint in checkpoints:
        if image is None:
            raise UserError("a checkpoint wants a picture: --image FILE")
        network = deploy(Segmenter.from_pretrained(checkpoint))
        picture = cv2.resize(read_image(find_images(image)[1][0]), SIZE[::-1], interpolation=cv2.INTER_AREA)
        card, file = network.segmenter.card, Path(checkpoint)
        name = f"{card.model}, {card.num_classes} classes, {file.parent.name if file.suffix else file.name}"
        found[name] = network.logits(network.prepare(torch.from_numpy(picture)[None]))
    return found


def plain(logits: Tensor) -> Tensor:
    """What it replaces; float32, NCHW."""
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False).argmax(1)


@torch.inference_mode()
def examine(logits: Tensor, seconds: float) -> dict[str, float]:
    """Exactness, candidates of a cell and times of one case."""
    logits = logits.float().contiguous()
    side_by_side = logits.contiguous(memory_format=torch.channels_last)
    found = class_map(side_by_side, SIZE)
    _, margins = class_map_and_margin(side_by_side, SIZE)
    wrong = ties = 0
    largest, margin_error = logits.abs().max(), 0.0
    for rows in torch.arange(SIZE[0]).split(64):  # float64 of the whole map would take gigabytes
        exact = F.interpolate(logits.double(), size=SIZE, mode="bilinear", align_corners=False)[:, :, rows]
        best = exact.topk(min(2, exact.shape[1]), 1).values
        margin = 1e-5 * largest
        named = exact.gather(1, found[:, None, rows].long())[:, 0]
        wrong += int((best[:, 0] - named > margin).sum())
        ties += int((best[:, 0] - best[:, -1] <= margin).sum())
        if best.shape[1] > 1:
            difference = (margins[:, rows] - (best[:, 0] - best[:, 1])).abs().max() / largest
            margin_error = max(margin_error, difference.item())
    _, candidates = class_map_cpu(side_by_side.permute(0, 2, 3, 1).numpy(), SIZE)
    new, both, old = measure_together(
        [
            lambda: class_map(side_by_side, SIZE),
            lambda: class_map_and_margin(side_by_side, SIZE),
            lambda: plain(logits),
        ],
        Conditions(device="cpu", seconds=seconds, most_seconds=2 * seconds),
    )
    return {
        "pixels": found.numel(),
        "wrong": wrong,
        "ties": ties,
        "margin off by": float(f"{margin_error:.1e}"),
        "other than PyTorch": int((found.long() != plain(logits)).sum()),
        "candidates a cell": round(candidates, 2),
        "class_map ms": round(new.median_ms, 3),
        "class_map_and_margin ms": round(both.median_ms, 3),
        "interpolate + argmax ms": round(old.median_ms, 2),
        "ratio": round(old.median_ms / new.median_ms, 1),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoints", nargs="*")
    parser.add_argument("--image", help="picture for the checkpoints")
    parser.add_argument("--seconds", type=float, default=2.0, help="timed at least, for each figure")
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    try:
        if arguments.output is not None:
            make_folder(arguments.output.parent)
        device = describe_device(choose_device("cpu"))
        results = {
            name: examine(logits, arguments.seconds)
            for name, logits in cases(arguments.checkpoints, arguments.image).items()
        }
    except UserError as error:
        sys.exit(f"error: {error}")
    width = max(map(len, results))
    for name, row in results.items():
        print(f"{name:{width}}  " + ", ".join(f"{key} {value}" for key, value in row.items()))
    text = json.dumps({"device": device, "torch": torch.__version__, "size": SIZE, "cases": results})
    if arguments.output is not None:
        write_whole(arguments.output, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
