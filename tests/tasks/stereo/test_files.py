"""PFM and KITTI's PNGs, and the files that are refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.data.pfm import read_pfm, write_pfm
from rtseg.errors import UserError
from rtseg.tasks.stereo.disparity_files import read_disparity, write_disparity_png

VALUES = np.array([[1.5, 2.25, 0], [3, 4, 100.5]], np.float32)


def test_pfm_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_pfm(tmp_path / "a.pfm", VALUES)
    np.testing.assert_array_equal(read_pfm(tmp_path / "a.pfm"), VALUES)
    assert (tmp_path / "a.pfm").read_bytes()[-24:] == VALUES[::-1].tobytes(), "rows bottom-up"


def test_the_sign_of_the_scale_is_the_byte_order(tmp_path: Path) -> None:
    file = tmp_path / "big.pfm"
    file.write_bytes(b"Pf\n3 2\n1\n" + VALUES[::-1].astype(">f4").tobytes())
    np.testing.assert_array_equal(read_disparity(file).values, VALUES)
    np.testing.assert_array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), VALUES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Pf\n3 2\n-1\n" + bytes(23), r"33 bytes, but 2x3 pixels \(height x width\) take 34"),
        (b"Pf\n3 2\n-1\n" + bytes(25), "35 bytes, but 2x3"),
        (b"PF\n3 2\n-1\n" + bytes(72), "of three channels"),
        (b"Pf\n3 2\n0\n" + bytes(24), "the scale 0 of a PFM"),
        (b"Pf\n3 2\n--\n" + bytes(24), "the scale -- of a PFM"),
        (b"Pf\n0 2\n-1\n", "2x0 pixels"),
        (b"Pf\n99999999 99999999\n-1\n", "from 1 to"),
        (b"\x89PNG", "not a PFM file"),
        (b"", "not a PFM file"),
    ],
)
def test_a_wrong_pfm_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.pfm"
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        read_disparity(file)
    assert str(file) in str(refused.value)


def test_nan_and_negative_disparities_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "bad.pfm"
    write_pfm(file, np.array([[np.nan, -1, -2], [np.inf, 4, 0]], np.float32))
    with pytest.raises(UserError, match=r"of 6 disparities 1 are NaN and 2 negative"):
        read_disparity(file)
    found = read_disparity(file, "skip")
    assert found.bad == 3
    np.testing.assert_array_equal(found.values, [[0, 0, 0], [0, 4, 0]])


def test_pngs_are_kittis(tmp_path: Path) -> None:
    file = tmp_path / "disparity.png"
    write_disparity_png(file, VALUES)
    stored = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, [[384, 576, 0], [768, 1024, 25728]])
    np.testing.assert_array_equal(read_disparity(file).values, VALUES)
    write_disparity_png(file, np.array([[1e-4, 300]]))
    np.testing.assert_array_equal(read_disparity(file).values, [[1 / 256, 65535 / 256]])
    cv2.imwrite(str(file), np.zeros((2, 3), np.uint8))
    with pytest.raises(UserError, match=r"8 bits, 1 channels; disparities are a grey PNG of 16 bits"):
        read_disparity(file)
