"""Reading pairs: what arrives, and what each kind of bad file is told."""

import pickle
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtseg.data.dataset import (
    IdDecoder,
    LabelSpace,
    SegmentationDataset,
    check_dataset,
    create_dataset,
    default_palette,
    label_space,
    list_datasets,
    register_dataset,
)
from rtseg.data.files import pair_files, read_mask
from rtseg.errors import UserError
from rtseg.registry import UnknownNameError

Write = Callable[[Path, np.ndarray], Path]
LABELS = LabelSpace(("a", "b"), ((1, 2, 3), (4, 5, 6)), (7, 300))
DECODE = IdDecoder({7: 0, 300: 1, 0: 255})
IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def one(image: Path, mask: Path) -> SegmentationDataset:
    return SegmentationDataset([(image, mask)], LABELS, "train", DECODE)


def test_a_pair_arrives_as_rgb_and_class_numbers(tmp_path: Path, write: Write) -> None:
    raw = np.array([[7, 0, 7, 7, 0, 7]] * 4, np.uint8)
    sample = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", raw))[0]
    np.testing.assert_array_equal(sample.image, IMAGE)
    np.testing.assert_array_equal(sample.mask, np.where(raw == 7, 0, 255))
    assert sample.mask.dtype == np.uint8
    assert (sample.name, sample.size) == ("x", (4, 6))


def test_16_bit_masks_keep_large_values(tmp_path: Path, write: Write) -> None:
    raw = np.full((4, 6), 300, np.uint16)
    sample = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", raw))[0]
    assert (sample.mask == 1).all()


@pytest.mark.parametrize(("depth", "packed"), [(1, 0b01000000), (2, 0b00011011)])
def test_small_grey_pngs_give_the_stored_number(tmp_path: Path, depth: int, packed: int) -> None:
    """OpenCV and PIL both spread 1, 2 and 4 bits over 0..255, and 255 is the ignored class of many data sets."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 4, 1, depth, 0, 0, 0, 0)
    image = zlib.compress(bytes([0, packed]))
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", image) + chunk(b"IEND", b""))
    assert read_mask(path).tolist() == [[packed >> (8 - depth * (k + 1)) & (2**depth - 1) for k in range(4)]]


def test_palette_png_gives_the_index(tmp_path: Path) -> None:
    index = np.array([[0, 7], [7, 0]], np.uint8)
    picture = Image.fromarray(index)
    picture.putpalette([9, 9, 9] * 7 + [200, 100, 50] * 249)
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), index)


def test_unknown_value_is_named_with_file_count_and_allowed_values(tmp_path: Path, write: Write) -> None:
    raw = np.full((4, 6), 7, np.uint8)
    raw[0, :3] = 9
    raw[1, 0] = 12
    dataset = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "bad.png", raw))
    with pytest.raises(
        UserError, match=r"bad\.png: label 9 \(3 pixels\), 12 \(1 pixel\).*Allowed: 0, 7, 300.*label_map"
    ):
        dataset[0]


def test_many_unknown_values_are_counted_not_listed(tmp_path: Path, write: Write) -> None:
    raw = np.arange(24, dtype=np.uint8).reshape(4, 6) + 10
    dataset = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", raw))
    with pytest.raises(UserError, match="and 19 more values"):
        dataset[0]


def test_colour_mask_is_sent_to_folder(tmp_path: Path, write: Write) -> None:
    dataset = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", IMAGE))
    with pytest.raises(UserError, match=r"m\.png: 3 channels.*colour mask.*'folder' with `colors"):
        dataset[0]


def test_grey_values_in_three_channels_are_recognised(tmp_path: Path, write: Write) -> None:
    dataset = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", np.full((4, 6, 3), 7, np.uint8)))
    with pytest.raises(UserError, match=r"m\.png: 3 channels.*equal: save one"):
        dataset[0]


@pytest.mark.parametrize(("size", "hint"), [((5, 6), "resize the mask"), ((6, 4), "EXIF")])
def test_mask_of_another_size_names_both(tmp_path: Path, write: Write, size: tuple[int, int], hint: str) -> None:
    dataset = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", np.full(size, 7, np.uint8)))
    with pytest.raises(UserError, match=rf"m\.png has .*{re.escape(str(size))}.*x\.png has \(4, 6\).*{hint}"):
        dataset[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_that_breaks_off_is_refused(tmp_path: Path, write: Write, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    image = write(tmp_path / f"x{suffix}", noise)
    mask = write(tmp_path / "m.png", np.full((40, 60), 7, np.uint8))
    assert one(image, mask)[0].image.shape == (40, 60, 3)
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(UserError, match=rf"x\{suffix}: truncated file \(\d+ bytes\); copy or download"):
        one(image, mask)[0]


def test_empty_and_wrong_files_are_refused(tmp_path: Path, write: Write) -> None:
    good = write(tmp_path / "m.png", np.full((4, 6), 7, np.uint8))
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.png"
    empty.touch()
    text.write_text("not a picture")
    with pytest.raises(UserError, match=r"empty\.jpg: empty file"):
        one(empty, good)[0]
    with pytest.raises(UserError, match=r"text\.png: not a readable image: it is a text file"):
        one(text, good)[0]
    with pytest.raises(UserError, match=r"text\.png: not a readable label image.*8 or 16 bit"):
        one(good, text)[0]
    with pytest.raises(UserError, match=r"gone\.png: cannot be read \(No such file"):
        one(tmp_path / "gone.png", good)[0]


def test_float_masks_are_refused(tmp_path: Path, write: Write) -> None:
    with pytest.raises(UserError, match=r"m\.tiff: not a readable label image \(float32 pixels\)"):
        read_mask(write(tmp_path / "m.tiff", np.zeros((4, 6), np.float32)))


def test_pairing_leaves_masks_over_but_no_image() -> None:
    a, b, mask = Path("i/a.jpg"), Path("i/b.jpg"), Path("m/a.png")
    assert pair_files([a], [mask, Path("m/c.png")], "m") == [(a, mask)]
    with pytest.raises(UserError, match=r"i/b\.jpg has no mask \(1 of 2 images.*looked for m/\*\.png.*Add the masks"):
        pair_files([a, b], [mask], "m/*.png")
    with pytest.raises(UserError, match=r"i/a\.jpg and i/a\.png both stand for 'a'; remove one"):
        pair_files([a, Path("i/a.png")], [mask], "m")


def test_names_are_found_and_wrong_ones_meet_the_nearest(tmp_path: Path) -> None:
    assert {"ade20k", "camvid", "camvid_drive_out", "cityscapes", "folder"} <= set(list_datasets())
    assert [len(label_space(name).names) for name in ("ade20k", "camvid", "cityscapes")] == [150, 11, 19]
    with pytest.raises(UnknownNameError, match=r"data set 'citiscapes'.*Did you mean 'cityscapes'"):
        create_dataset("citiscapes", tmp_path, "train")
    with pytest.raises(UserError, match=r"'camvid': split=trian is unknown.*Did you mean 'train'.*test, train, val"):
        create_dataset("camvid", tmp_path, "trian")
    with pytest.raises(ValueError, match="registered already"):
        register_dataset("camvid", LABELS)(lambda root, split: one(root, root))


def test_missing_folder_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match=r"nowhere: looked for .*nowhere/train/\*\.png, but in .* there is: pictures/"):
        create_dataset("camvid", tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match=r"there is: nothing\. Give the folder that holds train/\*\.png and trainannot"):
        create_dataset("camvid", tmp_path / "pictures", "train")
    file = tmp_path / "file.zip"
    file.touch()
    with pytest.raises(UserError, match=r"file\.zip is a file"):
        create_dataset("camvid", file, "train")


def test_label_space_refuses_what_does_not_fit() -> None:
    with pytest.raises(UserError, match="2 names, 1 colours, 2 ids"):
        LabelSpace(("a", "b"), ((0, 0, 0),), (0, 1))
    with pytest.raises(UserError, match=r"1 to 254 classes, not 255; merge or ignore"):
        LabelSpace(("a",) * 255, ((0, 0, 0),) * 255, tuple(range(255)))


def test_default_palette_tells_classes_apart() -> None:
    palette = default_palette(300)
    assert len(set(palette)) == 300
    distances = np.abs(np.diff(np.array(palette), axis=0)).sum(1)
    assert distances.min() > 100, "neighbours are easily told apart"
    assert palette[:150] == default_palette(150)


def test_data_sets_travel_to_worker_processes(tmp_path: Path, write: Write) -> None:
    dataset = one(write(tmp_path / "x.png", IMAGE), write(tmp_path / "m.png", np.full((4, 6), 7, np.uint8)))
    assert pickle.loads(pickle.dumps(dataset))[0].mask.max() == 0


def test_a_data_set_that_registers_no_classes() -> None:
    with pytest.raises(UserError, match="data set 'toy': its classes are a int; give a LabelSpace"):
        register_dataset("toy", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (1, "data set 'toy': its function returned a int, not a SegmentationDataset"),
        (
            SegmentationDataset([], LABELS, "val", DECODE),
            "data set 'toy': its function found no 'val' image; it should",
        ),
    ],
)
def test_a_function_that_makes_no_data_set(made: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_dataset("toy", made)
