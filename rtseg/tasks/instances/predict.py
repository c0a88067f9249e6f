"""`rtseg instances predict`: images -> overlays, and one file in COCO's format.

H, W height and width of an image.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import track
from torchvision.models.detection import MaskRCNN

from rtseg.checks import check_between
from rtseg.data import rle
from rtseg.data.files import read_image
from rtseg.deploy.device import choose_device
from rtseg.deploy.drawing.jpeg import jpeg
from rtseg.deploy.folder.result_names import result_names
from rtseg.deploy.folder.sources import find_sources
from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.models.weights import misfits, read_weights
from rtseg.output.folders import make_folder, written_whole
from rtseg.output.lock import locked_target
from rtseg.registry import trained_with
from rtseg.tasks.instances.detections import Detections, detect
from rtseg.tasks.instances.mask_rcnn import create_network
from rtseg.tasks.instances.overlay import Found, draw
from rtseg.terminal import Console, counted, say

PREDICTIONS = "predictions.json"
_LARGE = 2**21  # pixels; larger images are reduced before the network, which would do so itself


def load_network(checkpoint: Path, device: torch.device) -> tuple[MaskRCNN, ModelCard]:
    """The network of a checkpoint of `rtseg instances fit`, in evaluation; its moving average where it has one.

    Raises:
        UserError: it is damaged, or of another task.
    """
    card, state = read_weights(checkpoint, parts=("detector",))
    with trained_with(card.plugins):
        network = create_network(card.model, card.num_classes, insert=card.insert, **card.options).network
    if wrong := misfits(network.state_dict(), state):
        raise UserError(f"the weights in '{checkpoint}' do not fit {card.model}: {wrong}")
    network.load_state_dict(state)
    return network.to(device).eval(), card


def predict(
    checkpoint: Path, sources: Sequence[str], output: Path, *, min_score: float = 0.5, overlays: bool = True,
    device: str | None = None,
) -> int:  # fmt: skip
    """Writes `predictions.json` and, for each image, an overlay.

    Args:
        checkpoint: of `rtseg instances fit`.
        sources: images, folders or globs.
        output: folder.
        min_score: least score of what is kept.
        overlays: whether to draw them.
        device: None takes a GPU where there is one.

    Returns:
        How many images could not be read; a line names each.

    Raises:
        UserError: nothing can be predicted, or nothing can be written.
    """
    check_between("--min-score", min_score, 0, 1)
    found, failed = find_sources(sources, output)
    names, _ = result_names(found, output)
    chosen = choose_device(device)
    network, card = load_network(checkpoint, chosen)
    network.roi_heads.score_thresh = min_score  # torchvision's own would hide what is below 0.05
    classes = card.class_names or tuple(map(str, range(card.num_classes)))
    for path, reason in failed.items():
        say(f"{path}: {reason}", stderr=True)
    count, images, annotations = len(failed), list[dict[str, Any]](), list[dict[str, Any]]()
    with locked_target(output), refusals_told(output):
        make_folder(output)
        for path, name in track(names.items(), "predicting", len(names), console=Console(stderr=True)):
            try:
                image = read_image(path)
            except UserError as error:
                say(error, stderr=True)
                count += 1
                continue
            detections = _detect(network, image, chosen)
            size = (image.shape[0], image.shape[1])
            if overlays:
                _write_overlay(output / f"{name}_overlay.jpg", draw(image, objects(detections, size, classes)))
            number = len(images) + 1
            below = (Path(name).parent / path.name).as_posix()  # images of two folders may have one name
            images.append({"id": number, "file_name": below, "height": size[0], "width": size[1]})
            for label, one in zip(detections.labels.tolist(), objects(detections, size, classes), strict=True):
                category = card.ids[label] if card.ids else label + 1
                own = {"id": len(annotations) + 1, "image_id": number, "category_id": category}
                annotations.append(own | _annotation(one))
        ids = card.ids or tuple(range(1, card.num_classes + 1))
        categories = [{"id": k, "name": name} for k, name in zip(ids, classes, strict=True)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        with written_whole(output / PREDICTIONS) as aside:
            aside.write_text(json.dumps(content), encoding="utf-8")
    hint = ""
    if not annotations and min_score > 0:
        hint = f". None has a score of {min_score:g}: a lower --min-score shows those that are less sure"
    done = f"{counted(len(annotations), 'object')} in {counted(len(images), 'image')}"
    say(f"{done}: {output / PREDICTIONS}{hint}")
    return count


def objects(found: Detections, size: tuple[int, int], classes: Sequence[str]) -> Iterator[Found]:
    """The objects one by one, in an image of this size, which may be larger than their masks.

    Args:
        size: H, W.
        classes: their names.
    """
    height, width = size
    for box, label, score, mask in zip(
        found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), found.masks.cpu().numpy(), strict=True
    ):
        if mask.shape == size:
            yield Found(mask, box, classes[label], score)
            continue
        x, y = width / mask.shape[1], height / mask.shape[0]
        whole = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        yield Found(whole, (box[0] * x, box[1] * y, box[2] * x, box[3] * y), classes[label], score)


def _detect(network: MaskRCNN, image: np.ndarray, device: torch.device) -> Detections:
    """Masks of a large image are those of the reduced one: a hundred of them at its size would fill the memory."""
    pixels = image.shape[0] * image.shape[1]
    if pixels > _LARGE:
        scale = (_LARGE / pixels) ** 0.5
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return detect(network, torch.from_numpy(image).permute(2, 0, 1).to(device))


def _annotation(found: Found) -> dict[str, Any]:
    """In COCO's words, with the score."""
    left, top, right, bottom = (round(side, 2) for side in found.box)
    return {
        "segmentation": rle.encode(found.mask),
        "area": int(found.mask.sum()),
        "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
        "iscrowd": 0,
        "score": round(found.score, 4),
    }


def _write_overlay(file: Path, drawn: np.ndarray) -> None:
    height, width = drawn.shape[:2]
    encoded = jpeg(height, width, lambda rows: cv2.cvtColor(drawn[rows], cv2.COLOR_RGB2BGR))
    if encoded is None:
        raise UserError(f"a JPEG cannot hold {width}x{height} pixels (width x height); --no-overlay writes none")
    make_folder(file.parent)
    with written_whole(file) as aside:
        aside.write_bytes(encoded)
