"""Cityscapes (Cordts et al., 2016): 19 classes of streets in 50 cities, 2048x1024.

Layout: leftImg8bit/{split}/{city}/*_leftImg8bit.png, gtFine/{split}/{city}/*_gtFine_labelTrainIds.png (which the
official script makes) or *_gtFine_labelIds.png.
"""

from pathlib import Path

import numpy as np

from rtseg.data.dataset import IGNORE, IdDecoder, LabelSpace, SegmentationDataset, check_split, register_dataset
from rtseg.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, pair_files, require_files
from rtseg.data.walk import find_files

LABELS = LabelSpace(
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
        (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
        (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)  # fmt: skip
# The official table: ids 0..33, of which 19 are classes of the benchmark; the licence plate is -1, in a PNG 255.
_LABEL_IDS = IdDecoder({**dict.fromkeys([*range(34), 255], IGNORE), **{value: k for k, value in enumerate(LABELS.ids)}})
_TRAIN_IDS = IdDecoder({**{k: k for k in range(19)}, 255: IGNORE})


def _decode(raw: np.ndarray, path: Path) -> np.ndarray:
    return (_TRAIN_IDS if path.stem.endswith("_labelTrainIds") else _LABEL_IDS)(raw, path)


@register_dataset("cityscapes", LABELS, lambda root: _decode)
def cityscapes(root: Path, split: str) -> SegmentationDataset:
    """train (2975) and val (500). labelTrainIds where every image has them, otherwise labelIds mapped."""
    check_split("cityscapes", split, ("train", "val"))
    images = find_files(root / "leftImg8bit" / split, IMAGE_SUFFIXES, "*/*_leftImg8bit.*")
    labels = root / "gtFine" / split
    train_ids = find_files(labels, MASK_SUFFIXES, "*/*_gtFine_labelTrainIds.*")
    label_ids = find_files(labels, MASK_SUFFIXES, "*/*_gtFine_labelIds.*")
    require_files(
        "Cityscapes",
        root,
        {
            f"leftImg8bit/{split}/*/*_leftImg8bit.png": images,
            f"gtFine/{split}/*/*_gtFine_labelIds.png": train_ids + label_ids,
        },
    )
    complete = {_frame(path) for path in images} <= {_frame(path) for path in train_ids}
    masks, decode = (train_ids, _TRAIN_IDS) if complete or not label_ids else (label_ids, _LABEL_IDS)
    wanted = f"{labels}/<city>/<frame>_gtFine_label{'Train' if masks is train_ids else ''}Ids.png"
    return SegmentationDataset(pair_files(images, masks, wanted, _frame), LABELS, split, decode)


def _frame(path: Path) -> str:
    """frankfurt/frankfurt_000000_000294: what the names of an image and its label files share."""
    return f"{path.parent.name}/{path.stem.removesuffix('_leftImg8bit').partition('_gtFine_')[0]}"
