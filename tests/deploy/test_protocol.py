"""Evaluation protocols: PaddleSeg's own results, a plain computation that holds everything, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.protocol import Protocol
from rtseg.deploy.windows.tiling import Tiling
from rtseg.errors import UserError
from rtseg.models.paddle_names import to_state_dict
from rtseg.models.pdparams import read_pdparams
from tests.models.conftest import create_tiny

SIZE = (90, 131)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("whole+twice", "plain"),
        ("flip+twice", "flip"),
        ("ms-flip+twice", "msflip"),
        ("slide:48x64:32x40+twice", "slide_crop64x48_stride40x32_wh"),
    ],
)
def test_equals_paddlesegs_evaluation(text: str, name: str, shared: Path) -> None:
    network = create_tiny()
    network.load_weights(to_state_dict(read_pdparams(shared / "golden/rtformer_tiny_test.pdparams")), source="golden")
    network.eval()
    protocol = Protocol.parse(text)
    with np.load(shared / "golden/inference_tiny.npz") as golden, torch.no_grad():
        logits = protocol.logits(network.logits, torch.from_numpy(golden["x"]), SIZE)
        np.testing.assert_allclose(logits.numpy(), golden[f"{name}/logits"], rtol=0, atol=5e-4)
        assert np.array_equal(logits.argmax(1)[:, None].numpy(), golden[f"{name}/pred"])


def drawn(image: Tensor) -> Tensor:
    """Logits of three classes at stride 8 that depend on the place of a pixel in what is shown."""
    weights = torch.Generator().manual_seed(1)
    kernel = torch.randn(3, 3, 8, 8, generator=weights)
    found = F.conv2d(image, kernel, stride=8, padding=4)
    return found + torch.linspace(0, 5, found.shape[3])


def up(x: Tensor, *size: int) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("upsampling", ["once", "twice"])
def test_equals_what_holds_everything(upsampling: str) -> None:
    image = torch.randn(1, 3, 70, 100)
    protocol = Protocol.parse("ms-flip:0.5,1,1.3+slide:48x64:40x33", upsampling=upsampling)
    sums = torch.zeros(1, 3, *SIZE)
    for scale in (0.5, 1, 1.3):
        h, w = int(70 * scale + 0.5), int(100 * scale + 0.5)
        for flip in (False, True):
            shown = up(image, h, w).flip(3) if flip else up(image, h, w)
            total, times = torch.zeros(1, 3, h, w), torch.zeros(h, w)
            wh, ww = min(48, h), min(64, w)
            for top in [*range(0, h - 48, 40), max(h - 48, 0)]:
                for left in [*range(0, w - 64, 33), max(w - 64, 0)]:
                    part = drawn(shown[:, :, top : top + wh, left : left + ww])
                    total[:, :, top : top + wh, left : left + ww] += up(part, wh, ww)
                    times[top : top + wh, left : left + ww] += 1
            mean = total / times
            mean = mean.flip(3) if flip else mean
            sums += up(up(mean, 70, 100), *SIZE) if upsampling == "twice" else up(mean, *SIZE)
    assert sums.abs().max() > 1
    found = protocol.logits(drawn, image, SIZE)
    torch.testing.assert_close(found, sums / 6, rtol=0, atol=1e-4)


def test_rows_are_the_whole() -> None:
    image = torch.randn(1, 3, 40, 56)
    protocol = Protocol.parse("flip")
    parts = [values for _, values in protocol.rows(drawn, image, (300, 400))]
    assert [values.shape[2] for values in parts] == [1, 299]
    torch.testing.assert_close(torch.cat(parts, 2), protocol.logits(drawn, image, (300, 400)), rtol=0, atol=1e-5)


def test_what_a_text_means() -> None:
    own = {"resize": (300, 400), "upsampling": "twice"}
    assert Protocol.parse("whole", **own).is_whole  # type: ignore[arg-type]
    assert Protocol.parse("whole", **own).resize == (300, 400)  # type: ignore[arg-type]
    assert Protocol.parse("cityscapes", **own).resize is None  # type: ignore[arg-type]
    ade = Protocol.parse("ade20k+once+ms-flip", **own)  # type: ignore[arg-type]
    assert (ade.resize, ade.upsampling, ade.flip) == ((512, 2048), "once", True)
    assert ade.scales == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert Protocol.parse("resize:256x512").resize == (256, 512)
    assert Protocol.parse("slide:1024x1024:768x768").windows == Tiling((1024, 1024), (256, 256))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a part is empty"),
        ("ade", "'ade' is none of its parts"),
        ("flip:2", "'flip' takes no ':2'"),
        ("slide", "slide takes window and stride"),
        ("slide:1024:768", "slide takes window and stride"),
        ("slide:512x512:600x1", "a stride is at least 1 and at most"),
        ("slide:512x512:0x1", "a stride is at least 1"),
        ("slide:8x8:8x8", "at least 32 pixels"),
        ("slide:99999x99999:8x8", "at least 32 pixels"),
        ("ms:0.5,x", "'0.5,x' are no scales"),
        ("ms:nan", "from 0.05 to 4"),
        ("ms:1,1", "given twice"),
        ("ms:9", "from 0.05 to 4"),
        ("resize:9", "the short and the long side"),
        ("resize:600x512", "short side, long side"),
        ("resize:512x99999", "at most 8192"),
        ("ade20k+cityscapes", "says twice what the resizing is"),
    ],
)
def test_other_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=r"ade20k|512, 2048") as error:
        Protocol.parse(text)
    assert says in str(error.value)
