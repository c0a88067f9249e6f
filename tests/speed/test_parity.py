"""What may be timed and what not, with runtimes that are wrong in known ways."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines import BF16, FP16, FP32, INT8, Engine, by_name
from rtseg.deploy.fuse import deploy
from rtseg.models.segmenter import Segmenter
from rtseg.speed.parity import Parity, measure_parity

SHAPE = (2, 20, 30)
BATCHES = [torch.randint(0, 256, (*SHAPE, 3), dtype=torch.uint8) for _ in range(2)]
PRECISIONS = by_name(FP32, BF16, FP16, INT8)
Change = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    return x


class Fake(Engine):
    """Logits are 10 x the best class of a drawn map, then changed; class maps are of one pixel a position."""

    backend = "fake"
    precisions = PRECISIONS

    def __init__(
        self, precision: str = "fp32", *, logits: Change = same, classes: Change = same, has_logits: bool = True
    ) -> None:
        super().__init__(precision, SHAPE, torch.device("cpu"))
        self.change_logits, self.change_classes = logits, classes
        self.output = "logits" if has_logits else "class_map"  # type: ignore[misc]

    @classmethod
    def create(cls, *_: Any) -> "Fake":
        return cls()

    def logits(self, prepared: Tensor) -> Tensor:
        return self.change_logits(10 * torch.nn.functional.one_hot(prepared[..., 0].long() % 4, 4).float()).permute(
            0, 3, 1, 2
        )

    def classes(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return self.change_classes(logits.argmax(1).to(torch.uint8))


def parity(runtime: Fake, *, trained: bool = True, least_percent: float | None = None) -> Parity:
    return measure_parity(runtime, Fake(), BATCHES, trained=trained, least_percent=least_percent)


def wrong(pixels: int) -> Change:
    """So many pixels of each batch of 1200 are of another class."""

    def change(classes: Tensor) -> Tensor:
        classes = classes.clone()
        classes.view(-1)[:pixels] += 1
        return classes

    return change


def noisy(share: float) -> Change:
    """Adds noise of that share of the logits' spread."""

    def change(logits: Tensor) -> Tensor:
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        return logits + share * logits.std() * noise / noise.square().mean().sqrt()

    return change


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("precision", list(PRECISIONS))
def test_equal_runtimes_pass(precision: str, trained: bool) -> None:
    found = parity(Fake(precision), trained=trained)
    assert (found.equal_percent, found.logits_error, found.passed, found.pictures) == (100, 0, True, 2)


def test_thresholds_are_those_that_are_promised() -> None:
    allowed = {name: (p.least_equal_percent, p.most_logits_error) for name, p in PRECISIONS.items()}
    assert allowed == {"fp32": (99.99, 1e-3), "bf16": (99.5, 0.1), "fp16": (99.5, 0.1), "int8": (99.0, 0.5)}


@pytest.mark.parametrize(
    ("precision", "pixels", "passed"),
    [
        ("fp32", 1, False),  # of 1200: 99.917 %
        ("bf16", 6, True),  # 99.5 %, just as many as are allowed
        ("bf16", 7, False),
        ("fp16", 7, False),
        ("int8", 12, True),
        ("int8", 13, False),
    ],
)
def test_the_share_of_equal_pixels_decides_for_a_trained_network(precision: str, pixels: int, passed: bool) -> None:
    found = parity(Fake(precision, classes=wrong(pixels)))
    assert found.equal_percent == pytest.approx(100 * (1 - pixels / 1200))
    assert (found.gate, found.threshold) == ("equal_percent", PRECISIONS[precision].least_equal_percent)
    assert found.passed == passed


@pytest.mark.parametrize(
    ("precision", "share"), [(name, p.most_logits_error * k) for name, p in PRECISIONS.items() for k in (0.9, 1.1)]
)
def test_the_logits_decide_for_an_untrained_network(precision: str, share: float) -> None:
    found = parity(Fake(precision, logits=noisy(share)), trained=False)
    assert found.logits_error == pytest.approx(share, rel=1e-3)
    assert (found.gate, found.threshold) == ("logits_error", PRECISIONS[precision].most_logits_error)
    assert found.passed == (share < PRECISIONS[precision].most_logits_error)
    assert parity(Fake(precision, logits=noisy(share)), trained=True).gate == "equal_percent"


def test_the_worst_batch_decides() -> None:
    calls: list[None] = []

    def only_the_second(logits: Tensor) -> Tensor:
        calls.append(None)
        return noisy(0.5)(logits) if len(calls) > 2 else logits  # each batch asks twice: for classes and for logits

    found = parity(Fake(logits=only_the_second), trained=False)
    assert found.logits_error == pytest.approx(0.5, rel=1e-3)
    assert not found.passed


def test_shifted_logits_are_no_excuse_but_equal_ones_are() -> None:
    """A constant on all classes changes no class; it counts as an error of the logits all the same."""
    shifted = Fake(logits=lambda logits: logits + 5)
    assert parity(shifted).passed
    assert not parity(shifted, trained=False).passed


@pytest.mark.parametrize(
    "change", [lambda c: c.roll(1, -1), lambda c: (c + 1) % 4, lambda c: c.flip(0), torch.zeros_like]
)
@pytest.mark.parametrize("precision", list(PRECISIONS))
def test_wrong_class_maps_are_refused(change: Change, precision: str) -> None:
    found = parity(Fake(precision, classes=change))
    assert not found.passed
    assert found.equal_percent < 60
    assert f"{found.equal_percent:.3f} % of the pixels" in found.refusal()
    assert f"{PRECISIONS[precision].least_equal_percent:g} % are asked" in found.refusal()


def test_the_refusal_of_logits() -> None:
    found = parity(Fake(logits=noisy(0.25)), trained=False)
    assert found.refusal() == "logits differ by 0.25 of their spread, 0.001 is allowed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("batch", [0, 1])
def test_logits_that_are_no_numbers_are_refused(value: float, trained: bool, batch: int) -> None:
    """Also where no class map shows it, and in whatever batch they are."""
    calls: list[None] = []

    def broken(logits: Tensor) -> Tensor:
        calls.append(None)
        if (len(calls) - 1) // 2 == batch:
            logits = logits.clone()
            logits[0, 0, 0, 0] = value
        return logits

    for least in (None, 0.0):
        calls.clear()
        found = parity(Fake(logits=broken), trained=trained, least_percent=least)
        assert not found.passed
        assert found.refusal() == "its logits are not finite"
        assert found.logits_error is None  # NaN is no JSON


@pytest.mark.parametrize("trained", [True, False])
def test_engines_without_logits_are_held_by_their_class_maps(trained: bool) -> None:
    assert parity(Fake(has_logits=False), trained=trained).passed
    found = parity(Fake(has_logits=False, classes=wrong(1)), trained=trained)
    assert (found.logits_error, found.gate, found.passed) == (None, "equal_percent", False)


@pytest.mark.parametrize("trained", [True, False])
def test_ones_own_threshold_overrides(trained: bool) -> None:
    runtime = Fake(classes=wrong(12))
    for least, passed in ((98.5, True), (99.0, True), (99.5, False)):
        found = parity(runtime, trained=trained, least_percent=least)
        assert (found.gate, found.threshold, found.passed) == ("equal_percent", least, passed)


def test_class_maps_of_different_types_are_compared_by_value() -> None:
    assert parity(Fake(classes=lambda c: c.long())).passed
    assert parity(Fake(classes=lambda c: c.to(torch.int16))).passed


@torch.inference_mode()
def test_a_network_that_is_deployed_wrongly_is_seen(shared_segmenter: Segmenter) -> None:
    """Its BatchNorm left out instead of folded, as some repositories time it."""
    right, bare = (deploy(shared_segmenter, fold=fold) for fold in (True, False))
    for module in bare.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()

    class Deployed(Fake):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def prepare(self, pictures: Tensor) -> Tensor:
            return self.network.prepare(pictures)  # type: ignore[operator]

        def logits(self, prepared: Tensor) -> Tensor:
            return self.network.logits(prepared)  # type: ignore[operator]

        def classes(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
            return class_map(logits, size)

    for trained in (True, False):
        found = measure_parity(Deployed(bare), Deployed(right), BATCHES, trained=trained, least_percent=None)
        assert not found.passed


def test_a_class_map_that_is_not_that_of_its_logits_is_refused_untrained_too() -> None:
    found = parity(Fake(classes=wrong(100)), trained=False)
    assert (found.gate, found.passed) == ("class_map", False)
    assert found.logits_error == 0
    assert (
        found.refusal() == f"{found.equal_percent:.3f} % of the class map is that of its own logits, plainly upsampled"
    )
