"""Maps of positions by positions that do not fit are refused, with the place, before they are made."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from rtseg.attention.insertion import Inserted
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.speed.memory import measured_apart, peak_beyond
from rtseg.tasks.instances.mask_rcnn import create_network
from rtseg.tasks.stereo.psmnet import PSMNet

DOT = "nl:kind=dot:heads=8"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the bytes that are free."""

    def set_free(number: int) -> None:
        monkeypatch.setattr("rtseg.attention.memory.free_memory", lambda _: number)

    return set_free


def inserted(*attentions: str) -> Inserted:
    return Inserted(attentions, 16, "fpn.p2").eval()


@torch.no_grad()
def test_the_place_the_need_and_the_repair_are_said(free: Callable[[int], None]) -> None:
    free(1_000_000_000)
    with pytest.raises(
        UserError,
        match=r"^attention 'nl' at fpn\.p2 would need 1\.1 GB for its maps of 4,096 by 4,096 positions \(2 images, 8 "
        r"heads\); 1\.0 GB are free\. Take fa, .* nl with kind=gauss and basis equal to values, .* smaller batches$",
    ):
        inserted("fa", DOT)(torch.zeros(2, 16, 64, 64))
    softmax = inserted("nl:basis=16:values=8:heads=8")  # scores, their softmax, and a mask of bytes
    with pytest.raises(UserError, match=r"need 1\.2 GB for its maps of 4,096 by 4,096 positions \(1 image, 8 heads\)"):
        softmax(torch.zeros(1, 16, 64, 64))
    with (
        torch.autocast("cpu", torch.bfloat16),  # in which PyTorch computes the softmax in float32
        pytest.raises(UserError, match=r"need 1\.2 GB for its maps of 4,096 by 4,096 positions \(1 image, 8 heads\)"),
    ):
        softmax(torch.zeros(1, 16, 64, 64))


def test_a_training_makes_a_gradient_as_well(free: Callable[[int], None]) -> None:
    free(1_000_000_000)
    with pytest.raises(UserError, match=r"would need 1\.1 GB in training for its maps .* \(1 image, 8 heads\)"):
        inserted(DOT)(torch.zeros(1, 16, 64, 64))
    with pytest.raises(UserError, match=r"would need 1\.1 GB in training for its maps .* \(2 images, 8 heads\)"):
        inserted(DOT).bfloat16()(torch.zeros(2, 16, 64, 64, dtype=torch.bfloat16))


def passed(attention: str, training: bool, dtype: torch.dtype) -> None:
    """Four heads and 3,072 positions: 151 MB for a map of float32."""
    layer, x = inserted(attention).to(dtype), torch.randn(1, 16, 48, 64, dtype=dtype)
    with torch.set_grad_enabled(training):
        y = layer(x)
    if training:
        y.float().sum().backward()


def peak(*case: Any) -> int:
    torch.set_num_threads(1)
    passed(*case)  # what the first call alone needs
    return peak_beyond(lambda: passed(*case))


@pytest.mark.slow
def test_the_need_is_the_peak(free: Callable[[int], None]) -> None:
    attentions = "nl:kind=dot:heads=4", "nl:basis=16:values=8:heads=4"
    cases = list(product(attentions, (False, True), (torch.float32, torch.bfloat16)))
    for case, measured in zip(cases, measured_apart(peak, cases), strict=True):
        assert measured is not None, "no system but Linux tells it"
        free(measured)
        passed(*case)
        free(int(0.85 * measured))
        with pytest.raises(UserError, match="would need"):
            passed(*case)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["nl", "nl:basis=4:values=4:heads=1", "fa", "sa"])
def test_what_holds_no_map_runs(attention: str, free: Callable[[int], None]) -> None:
    free(0)
    assert inserted(attention)(torch.zeros(1, 16, 48, 48)).shape == (1, 16, 48, 48)


@torch.no_grad()
def test_what_is_small_or_fits_runs(free: Callable[[int], None]) -> None:
    free(0)
    assert inserted(DOT)(torch.zeros(1, 16, 32, 32)).any().logical_not()
    free(10**9)
    assert inserted(DOT)(torch.zeros(1, 16, 40, 40)).any().logical_not()


def test_what_is_only_written_down_is_not_checked(free: Callable[[int], None]) -> None:
    free(0)
    layer, x = inserted(DOT), torch.zeros(1, 16, 40, 40)
    torch.export.export(layer, (x,))
    torch.jit.trace(layer, x, check_trace=False)
    assert layer.to("meta")(x.to("meta")).is_meta
    with FakeTensorMode():
        assert inserted(DOT)(torch.zeros(1, 16, 400, 400)).shape == (1, 16, 400, 400)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Any]]] = {
    "at stage1": (
        lambda: create_model("rtformer_slim", 2, insert={"stage1": DOT}),
        lambda network: network(torch.zeros(1, 3, 160, 160)),
    ),
    "would": (  # a branch of its own
        lambda: create_model("rtformer_slim", 2, attention=f"gfa+{DOT}"),
        lambda network: network(torch.zeros(1, 3, 320, 320)),
    ),
    "at fpn.p2": (
        lambda: create_network("mask_rcnn_resnet18", 2, insert={"fpn.p2": DOT}, sizes=(160,)).network,
        lambda network: network([torch.zeros(3, 160, 160)]),
    ),
    "at layer4": (
        lambda: PSMNet(16, insert={"layer4": DOT}),
        lambda network: network(torch.zeros(1, 3, 160, 160), torch.zeros(1, 3, 160, 160)),
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("words", list(NETWORKS))
def test_every_network_says_it(words: str, free: Callable[[int], None]) -> None:
    free(0)
    build, run = NETWORKS[words]
    with pytest.raises(UserError, match=f"^attention 'nl' {words}.* maps of 1,600 by 1,600 positions"):
        run(build().eval())
