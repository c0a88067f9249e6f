"""CamVid (Brostow et al., 2009) in the 11 classes and 480x360 pixels of SegNet: road scenes of a few drives.

Layout: train/ trainannot/ val/ valannot/ test/ testannot/, images .png or .jpg, label PNGs 0..10, 11 = void.
"""

from pathlib import Path

from rtseg.data.dataset import IGNORE, IdDecoder, LabelSpace, SegmentationDataset, check_split, register_dataset
from rtseg.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, pair_files, require_files
from rtseg.data.walk import find_files
from rtseg.errors import UserError

LABELS = LabelSpace(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    ids=tuple(range(11)),
)  # fmt: skip
_DECODE = IdDecoder({**{k: k for k in range(11)}, 11: IGNORE})
_DRIVES = {"train": ("0006R0", "0016E5"), "val": ("0001TP",)}


def _pairs(root: Path, split: str) -> list[tuple[Path, Path]]:
    images = find_files(root / split, IMAGE_SUFFIXES)
    masks = find_files(root / f"{split}annot", MASK_SUFFIXES)
    require_files("CamVid", root, {f"{split}/*.png": images, f"{split}annot/*.png": masks})
    return pair_files(images, masks, f"{root}/{split}annot/<name of the image>.png")


@register_dataset("camvid", LABELS, lambda root: _DECODE)
def camvid(root: Path, split: str) -> SegmentationDataset:
    """SegNet's split: train (367), val (101), test (233)."""
    check_split("camvid", split, ("train", "val", "test"))
    return SegmentationDataset(_pairs(root, split), LABELS, split, _DECODE)


@register_dataset("camvid_drive_out", LABELS, lambda root: _DECODE)
def camvid_drive_out(root: Path, split: str) -> SegmentationDataset:
    """SegNet's training frames parted by drive: train on two drives, val on the third.

    The official val frames lie about a second from training frames of the same drive, so they flatter; these do not.
    """
    check_split("camvid_drive_out", split, tuple(_DRIVES))
    pairs = [pair for pair in _pairs(root, "train") if pair[0].name.startswith(_DRIVES[split])]
    if not pairs:
        raise UserError(
            f"{root / 'train'} does not contain a frame of drive {' or '.join(_DRIVES[split])}; "
            "the drive-out split needs CamVid's own frames, called <drive>_<frame>.png"
        )
    return SegmentationDataset(pairs, LABELS, split, _DECODE)
