from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, iou
from rtseg.training.losses import LossConfig, jaccard_loss, pixel_loss, segmentation_loss


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("ce", LossConfig()),
        ("ce_weight", LossConfig(class_weights=(0.5, 1.0, 2.0, 0.25, 1.5))),
        ("ce_topk20", LossConfig(top_fraction=0.2)),
        ("ohem_t0.7_k50", LossConfig(ohem=True, ohem_threshold=0.7, ohem_min_pixels=50)),
        ("ohem_t0.1_k50", LossConfig(ohem=True, ohem_threshold=0.1, ohem_min_pixels=50)),
        ("ohem_k100000", LossConfig(ohem=True, ohem_min_pixels=100000)),
    ],
)
def test_equals_paddleseg(shared: Path, key: str, config: LossConfig) -> None:
    golden = np.load(shared / "golden" / "losses.npz")
    logits, mask = torch.from_numpy(golden["logits"]), torch.from_numpy(golden["label"]).long()
    # PaddleSeg's OHEM adds 1e-5 to the share of pixels kept, which is at least 0.4 here.
    assert pixel_loss(logits, mask, config).item() == pytest.approx(
        float(golden[key]), rel=3e-5 if config.ohem else 1e-6
    )


def test_is_torchs_mean_over_labelled_pixels() -> None:
    logits, mask = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5))
    mask[0, :3] = 255
    assert pixel_loss(logits, mask, LossConfig()).item() == pytest.approx(
        F.cross_entropy(logits, mask, ignore_index=255).item()
    )


@pytest.mark.parametrize(
    "config",
    [LossConfig(), LossConfig(ohem=True), LossConfig(top_fraction=0.3), LossConfig(class_weights=(1.0, 2.0, 3.0))],
)
def test_crop_without_labels_costs_nothing(config: LossConfig) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((2, 4, 4), 255), config)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_ohem_keeps_the_hard_pixels_only() -> None:
    logits = torch.tensor([[[[9.0, 0.0]], [[0.0, 0.0]]]])  # first pixel certain and right, second undecided
    mask = torch.zeros(1, 1, 2, dtype=torch.long)
    loss = pixel_loss(logits, mask, LossConfig(ohem=True, ohem_threshold=0.7, ohem_min_pixels=1))
    assert loss.item() == pytest.approx(np.log(2), abs=1e-5)


def test_jaccard_of_certain_logits_is_one_minus_the_mean_iou() -> None:
    pred, mask = torch.randint(0, 4, (2, 3, 5, 6))
    mask[0, :2] = 255
    mask[mask == 2] = 1  # predicted, but nowhere true: not among the classes that count
    certain = 1e4 * F.one_hot(pred, 4).movedim(-1, 1)
    scores = iou(confusion_matrix(pred, mask, 4))[[0, 1, 3]]
    assert jaccard_loss(certain, mask).item() == pytest.approx(1 - scores.mean().item(), abs=1e-6)


def test_jaccard_has_the_gradient_of_its_formula() -> None:
    logits, mask = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True), torch.randint(0, 3, (2, 3, 4))
    mask[1, 0] = 255
    share = logits.float().softmax(1).movedim(1, -1)[mask != 255]
    true = F.one_hot(mask[mask != 255], 3)
    hits = (share * true).sum(0)
    (expected,) = torch.autograd.grad((1 - hits / (share + true - share * true).sum(0)).mean(), logits)
    (gradient,) = torch.autograd.grad(jaccard_loss(logits, mask), logits)
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_jaccard_of_a_batch_without_labels_costs_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = jaccard_loss(logits, torch.full((2, 4, 4), 255))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert gradient.eq(0).all()


def test_aux_weight() -> None:
    main, aux, mask = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    whole = segmentation_loss(main, aux, mask, LossConfig(aux_weight=0.4))
    parts = pixel_loss(main, mask, LossConfig()) + 0.4 * pixel_loss(aux, mask, LossConfig())
    assert whole.item() == pytest.approx(parts.item())
    with_jaccard = segmentation_loss(main, aux, mask, LossConfig(aux_weight=0.4, jaccard_weight=0.5))
    assert with_jaccard.item() == pytest.approx((parts + 0.5 * jaccard_loss(main, mask)).item())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"aux_weight": -1}, "aux_weight=-1"),
        ({"jaccard_weight": -1}, "jaccard_weight=-1"),
        ({"ohem_threshold": 1.5}, "between 0 and 1"),
        ({"top_fraction": 0}, "above 0"),
        ({"ohem": True, "top_fraction": 0.5}, "use one of them"),
    ],
)
def test_refuses_bad_settings(options: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        LossConfig(**options)  # type: ignore[arg-type]


def test_refuses_weights_of_other_classes() -> None:
    with pytest.raises(UserError, match="2 entries for 3 classes"):
        pixel_loss(torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2).long(), LossConfig(class_weights=(1.0, 2.0)))
