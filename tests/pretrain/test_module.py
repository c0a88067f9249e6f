"""Scores, what a checkpoint says, what a batch with replaced images leaves in the log."""

from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pretrain.data.mixing import MixConfig
from pretrain.data.samples import IGNORED, Batch
from pretrain.module import ClassificationModule, Scores
from pretrain.networks.classifier import create_classifier, list_classifiers
from pretrain.optim import OptimConfig
from rtseg.errors import UserError
from rtseg.training.replay import replay


@given(st.integers(2, 8), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32))
def test_scores_are_those_of_all_images_at_once(classes: int, batches: list[int], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(sum(batches), classes, generator=draw)
    label = torch.randint(classes, (sum(batches),), generator=draw)
    scores = Scores()
    for part, own in zip(logits.split(batches), label.split(batches), strict=True):
        scores.update(part, own)
    result = scores.compute()
    rank = (logits > logits.gather(1, label[:, None])).sum(1)  # how many classes are ahead of the right one
    assert result["top1"] == pytest.approx((rank < 1).float().mean().item())
    assert result["top5"] == pytest.approx((rank < 5).float().mean().item())
    assert result["loss"] == pytest.approx(F.cross_entropy(logits, label).item(), rel=1e-5)


def small(**settings: object) -> ClassificationModule:
    options = {"base_channels": 8}
    optim = OptimConfig(warmup_epochs=0, lr_batch_size=None)
    return ClassificationModule(num_classes=3, options=options, optim=optim, **settings)  # type: ignore[arg-type]


def batches(number: int, *, skipped: int = 0) -> DataLoader:
    batch = Batch(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 2, 0]), skipped)
    return DataLoader([batch] * number, batch_size=None)  # type: ignore[arg-type]


def trainer(**settings: object) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return L.Trainer(accelerator="cpu", max_epochs=1, logger=False, **quiet, **settings)  # type: ignore[arg-type]


def test_replaced_images_are_counted_in_the_log() -> None:
    fitting = trainer()
    fitting.fit(small(), batches(3, skipped=2), batches(2, skipped=1))
    assert fitting.logged_metrics["data/skipped_train"] == 6
    assert fitting.logged_metrics["data/skipped_val"] == 2


def test_an_unreadable_image_is_not_scored() -> None:
    logits, label = torch.randn(5, 7), torch.tensor([0, 1, 2, 3, 4])
    scores, without = Scores(), Scores()
    scores.update(logits, torch.where(label == 2, IGNORED, label))
    without.update(logits[label != 2], label[label != 2])
    assert scores.compute() == without.compute()
    scores.update(logits, torch.full((5,), IGNORED))  # a batch of nothing else
    assert scores.compute() == without.compute()


def test_the_average_is_what_is_scored_and_saved() -> None:
    module, fitting = small(ema_decay=0.5), trainer()
    images = batches(1)
    fitting.fit(module, batches(4), images)
    (scores,) = fitting.validate(module, images, verbose=False)
    assert module.ema is not None
    (batch,) = images
    with torch.no_grad():
        averaged, plain = (net.eval()(module.prepare(batch.image)) for net in (module.ema.module, module.classifier))
    assert scores["val/loss"] == pytest.approx(F.cross_entropy(averaged, batch.label).item(), rel=1e-5)
    assert scores["val/loss"] != pytest.approx(F.cross_entropy(plain, batch.label).item(), rel=1e-5)


def test_bfloat16_trains_and_the_loss_is_float32() -> None:
    module, fitting = small(), trainer(precision="bf16-mixed")
    fitting.fit(module, batches(2))
    assert fitting.logged_metrics["train/loss"].dtype == torch.float32
    assert fitting.logged_metrics["train/loss"].isfinite()


def test_the_card_says_how_the_network_was_built() -> None:
    card = small(attention="sa").card
    assert (card.part, card.model, card.attention, card.num_classes) == ("classifier", "rtformer_slim", "sa", 3)
    again = create_classifier(card.model, card.num_classes, attention=card.attention, **card.options)
    assert again.state_dict().keys() == small(attention="sa").classifier.state_dict().keys()
    assert card.options["drop_path"] == 0.0  # where classification differs from the segmenter's default


def test_a_step_that_is_not_finite_stops_and_is_replayed(tmp_path: Path) -> None:
    module = small()
    with torch.no_grad():
        list(module.classifier.parameters())[-2].mul_(1e38).mul_(10)
    with pytest.raises(UserError, match=rf"the loss is not finite: main .*python -m pretrain replay {tmp_path}"):
        trainer(default_root_dir=tmp_path).fit(module, batches(1))
    assert "in float32 too" in replay(tmp_path, ClassificationModule, device="cpu")


def test_logits_that_are_not_finite_are_no_score() -> None:
    """The first class is the largest of NaN, and here it is the right one."""
    scores = Scores()
    scores.update(torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]]), torch.tensor([0, 0]))
    result = scores.compute()
    assert result["not_finite"] == 1
    assert all(result[name].isnan() for name in ("top1", "top5", "loss"))


def test_a_validation_without_a_readable_image_is_an_error() -> None:
    batch = Batch(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.full((4,), IGNORED), 4)
    with pytest.raises(UserError, match="not one validation image could be read"):
        trainer().validate(small(), DataLoader([batch], batch_size=None), verbose=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list_classifiers())
def test_every_network_can_be_asked_for(name: str) -> None:
    with torch.device("meta"):
        network = create_classifier(name, 7)
    assert sum(p.numel() for p in network.parameters()) > 1e6
    if name not in ("rtformer_slim", "rtformer_base"):
        with pytest.raises(UserError, match="no attention to choose"):
            ClassificationModule(name, attention="sa", mix=MixConfig())
