from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, iou
from rtseg.models.backbone import Auxiliary
from rtseg.registry import UnknownNameError
from rtseg.training.losses import LossConfig, LossContext, TotalLoss, list_losses, register_loss
from rtseg.training.losses.base import get_loss
from rtseg.training.losses.cross_entropy import pixel_loss
from rtseg.training.losses.jaccard import jaccard_loss


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


@pytest.mark.parametrize("loss", list_losses())
def test_is_as_accurate_as_its_logits_and_float32_at_least(loss: str) -> None:
    channels = 1 if loss == "boundary" else 4
    mask = torch.arange(4).view(1, 4, 1).expand(1, 4, 4)
    for given, wanted in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        outputs = {"main": torch.randn(1, 4, 4, 4, dtype=given), "boundary": torch.full((1, 1, 4, 4), 9, dtype=given)}
        logits = torch.randn(1, channels, 4, 4, dtype=given)
        assert get_loss(loss)(logits, mask, LossContext(outputs, LossConfig(), 255)).dtype == wanted


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


AUX = {"aux": Auxiliary("aux", weight=0.4)}


def test_the_total_is_the_weighted_sum() -> None:
    main, aux, mask = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    first, second = (pixel_loss(logits, mask, LossConfig()) for logits in (main, aux))
    outputs = {"main": main, "aux": aux}
    for config, weights in (
        (LossConfig(), (1, 0.4)),
        (LossConfig(aux_weight=0.3), (1, 0.3)),
        (LossConfig(weights={"aux": 0.2}), (1, 0.2)),
        (LossConfig(weights={"aux": 0, "main": 2}), (2, 0)),
    ):
        whole = TotalLoss(AUX, config)(outputs, mask)
        assert whole.item() == (weights[0] * first + weights[1] * second).item()
    with_jaccard = TotalLoss(AUX, LossConfig(jaccard_weight=0.5))(outputs, mask)
    assert with_jaccard.item() == (first + 0.4 * second + 0.5 * jaccard_loss(main, mask)).item()


@register_loss("test_where_the_edge_is_likely")
def where_likely(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    """PIDNet's: the main output's loss where the boundary output expects an edge."""
    likely = context.outputs["edge"][:, 0].detach().sigmoid() > 0.8
    return pixel_loss(logits, mask.where(likely, context.ignore_index), context.config)


@register_loss("test_edge")
def edge(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits[:, 0], (mask == 1).float())


def test_a_loss_may_look_at_other_outputs_and_have_none_of_its_own() -> None:
    auxiliary = {
        "edge": Auxiliary("low", weight=20, loss="test_edge", channels=1),
        "near": Auxiliary(None, weight=1, loss="test_where_the_edge_is_likely"),
    }
    main, edges = torch.randn(2, 3, 4, 6), torch.full((2, 1, 4, 6), -3.0)
    edges[0, :, :2] = 3
    mask = torch.randint(0, 3, (2, 4, 6))
    mask[0, 1] = 255
    parts = [
        pixel_loss(main, mask, LossConfig()),
        F.binary_cross_entropy_with_logits(edges[:, 0], (mask == 1).float()),
        F.cross_entropy(main[:1, :, :2], mask[:1, :2], ignore_index=255),
    ]
    outputs = {"main": main, "edge": edges}
    whole = TotalLoss(auxiliary, LossConfig())(outputs, mask)
    assert whole.item() == pytest.approx((parts[0] + 20 * parts[1] + parts[2]).item())
    config = LossConfig(weights={"near": 0.5, "edge": 2})
    assert TotalLoss(auxiliary, config)(outputs, mask).item() == pytest.approx(
        (parts[0] + 2 * parts[1] + 0.5 * parts[2]).item()
    )


@register_loss("test_vector")
def vector(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    return logits.mean((1, 2, 3))


@register_loss("test_float")
def number(logits: Tensor, mask: Tensor, context: LossContext) -> Any:
    return 1.0


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("test_vector", r"loss 'test_vector' returned a Tensor of shape \(2,\): return a scalar tensor"),
        ("test_float", "loss 'test_float' returned a float: return a scalar tensor"),
        ("cross_entropy", "loss 'cross_entropy' wants a channel for each of 3 classes, and its output has 1: leave"),
        ("jaccard", "loss 'jaccard' wants a channel for each of 3 classes"),
    ],
)
def test_losses_that_do_not_fit(loss: str, says: str) -> None:
    outputs = {"main": torch.randn(2, 3, 4, 6), "edge": torch.randn(2, 1, 4, 6)}
    total = TotalLoss({"edge": Auxiliary("low", weight=1, loss=loss, channels=1)}, LossConfig())
    with pytest.raises(UserError, match=says):
        total(outputs, torch.zeros(2, 4, 6).long())


def test_there_are_the_losses_of_every_file() -> None:
    assert {"cross_entropy", "jaccard"} <= set(list_losses())
    with pytest.raises(UnknownNameError, match=r"unknown loss 'cross'.*cross_entropy"):
        TotalLoss({"aux": Auxiliary("aux", weight=1, loss="cross")}, LossConfig())


@pytest.mark.parametrize(
    ("config", "auxiliary", "says"),
    [
        (LossConfig(weights={"edge": 1}), AUX, "loss.weights.edge: the model has no output 'edge'. Known: aux, main"),
        (LossConfig(weights={"aix": 1}), AUX, r"no output 'aix'. Did you mean 'aux'\?"),
        (LossConfig(aux_weight=1), {}, "loss.aux_weight: the model has no output 'aux'. Known: main"),
    ],
)
def test_weights_of_outputs_that_are_not_there(config: LossConfig, auxiliary: dict[str, Auxiliary], says: str) -> None:
    with pytest.raises(UserError, match=says):
        TotalLoss(auxiliary, config)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"aux_weight": -1}, "aux_weight=-1"),
        ({"jaccard_weight": -1}, "jaccard_weight=-1"),
        ({"weights": {"edge": -2}}, "loss.weights.edge=-2 must be at least 0; 0 switches it off"),
        ({"weights": {"aux": 1}, "aux_weight": 1}, "both give the weight of output 'aux'"),
        ({"ohem_threshold": 1.5}, "below 1; it is a probability"),
        ({"top_fraction": 0}, "above 0"),
        ({"ohem": True, "top_fraction": 0.5}, "use one of them"),
    ],
)
def test_refuses_bad_settings(options: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        LossConfig(**options)  # type: ignore[arg-type]


def test_refuses_weights_of_other_classes() -> None:
    with pytest.raises(UserError, match=r"2 entries for 3 classes; .* --model.loss.class_weights null"):
        pixel_loss(torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2).long(), LossConfig(class_weights=(1.0, 2.0)))


def test_weights_by_name_are_put_in_the_classes_order() -> None:
    loss = LossConfig(class_weights={"car": 2.0, "road": 0.5})
    assert loss.for_classes(("road", "car")).class_weights == (0.5, 2.0)
    assert LossConfig(class_weights=(1.0, 2.0)).for_classes(("road", "car")).class_weights == (1.0, 2.0)


def test_weights_of_another_data_set_are_refused() -> None:
    """Also where it has as many classes."""
    with pytest.raises(UserError, match=r"it names 'sky' and it lacks 'car'\. .* --model.loss.class_weights null"):
        LossConfig(class_weights={"road": 1.0, "sky": 2.0}).for_classes(("road", "car"))
    with pytest.raises(UserError, match=r"class_weights lacks 'car': give each class a weight, 1 leaves it"):
        LossConfig(class_weights={"road": 1.0}).for_classes(("road", "car"))
    with pytest.raises(UserError, match=r"loss.class_weights\[sky\]=-1"):
        LossConfig(class_weights={"road": 1.0, "sky": -1})
