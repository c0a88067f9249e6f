from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from rtseg.data.files import read_image
from rtseg.deploy.predictor import load
from rtseg.errors import UserError
from rtseg.training.callbacks.stop import StopGracefully
from rtseg.training.datamodule import SegmentationData
from rtseg.training.losses import LossConfig
from rtseg.training.module import SegmentationModule
from rtseg.training.optim import OptimConfig


def data(root: Path, **options: Any) -> SegmentationData:
    options = {"batch_size": 3, "crop_size": (32, 48), "num_workers": 0, "seed": 7, **options}
    return SegmentationData("camvid", str(root), **options)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    options = {"max_epochs": 2, "callbacks": [ModelCheckpoint(folder, filename="best", save_last=True)], **options}
    return L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0, default_root_dir=folder, **options,
    )  # fmt: skip


def module(tiny_model: dict[str, Any], **options: Any) -> SegmentationModule:
    torch.manual_seed(1)
    optim = OptimConfig(lr=3e-3, lr_batch_size=None, warmup_steps=2, head_lr_factor=2.0)
    return SegmentationModule(num_classes=11, **{**tiny_model, "optim": optim, "ema_decay": 0.9, **options})


def test_learns(tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    net, batches = module(tiny_model, ema_decay=0.5), data(tiny_camvid, scales=(1.0,), distort=False)
    run = trainer(tmp_path, max_epochs=10, check_val_every_n_epoch=10)
    (before,) = run.validate(net, batches, verbose=False)
    run.fit(net, batches)
    after = run.callback_metrics
    assert after["val/loss"] < 0.85 * before["val/loss"]
    assert after["val/accuracy"] > before["val/accuracy"] + 0.05
    assert net.segmenter.card.class_names[0] == "sky"


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
def test_killed_and_resumed_ends_with_the_same_bits(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any], stop_after: int
) -> None:
    """Three batches an epoch: the stops fall inside the epochs, at their ends, and beside validations."""
    whole = module(tiny_model)
    trainer(tmp_path / "whole").fit(whole, data(tiny_camvid))
    killed = trainer(tmp_path / "killed", max_steps=6)

    class Kill(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == stop_after:
                trainer.save_checkpoint(tmp_path / "stop.ckpt")
                raise RuntimeError("killed")

    killed.callbacks.append(Kill())  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="killed"):
        killed.fit(module(tiny_model), data(tiny_camvid))
    torch.manual_seed(99)
    resumed = SegmentationModule(
        num_classes=11, **tiny_model, optim=whole.optim, ema_decay=0.9
    )  # other initial weights
    run = trainer(tmp_path / "resumed")
    run.fit(resumed, data(tiny_camvid), ckpt_path=tmp_path / "stop.ckpt", weights_only=True)
    assert run.global_step == 6
    for part in ("segmenter", "ema"):
        ours, theirs = getattr(resumed, part).state_dict(), getattr(whole, part).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_another_length_is_refused_or_said(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """More steps for a training that has ended are asked for on purpose; its rate had come down, though."""

    def fit(resumed: str | None = None, **length: int) -> None:
        run = trainer(tmp_path, callbacks=[ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)],
                      limit_val_batches=0, **length)  # fmt: skip
        path = resumed and tmp_path / f"step={resumed}.ckpt"
        run.fit(module(tiny_model), data(tiny_camvid), ckpt_path=path, weights_only=True)

    fit(max_epochs=1)
    for length in ({"max_epochs": 2}, {"max_steps": 1}):
        with pytest.raises(UserError, match=r"begun for 3 steps, now it is (6|1).*--model\.weights=RUN/last\.ckpt"):
            fit("2", **length)
    fit("3", max_steps=4)
    assert "ended after 3 steps, now it is 4, and its learning rate jumps from 1.00e-06 to 1.50e-03" in caplog.text


def test_accumulated_steps_are_whole(tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    """Of three batches an epoch two make a step, and the schedule counts so; what ends inside a step is refused."""
    run = trainer(tmp_path, accumulate_grad_batches=2)
    run.fit(module(tiny_model), data(tiny_camvid))
    assert (run.global_step, run.estimated_stepping_batches, run.fit_loop.total_batch_idx + 1) == (2, 2, 4)
    with pytest.raises(UserError, match=r"an epoch of 1 batches ends inside .* give trainer.limit_train_batches=2"):
        trainer(tmp_path, accumulate_grad_batches=2, limit_train_batches=1).fit(module(tiny_model), data(tiny_camvid))


class _Impatient(L.Callback):
    """Asks for the end at the first batch."""

    def __init__(self, stop: StopGracefully) -> None:
        self.stop = stop

    def on_train_batch_start(self, *args: Any) -> None:
        self.stop.asked = True


@pytest.mark.parametrize(
    ("options", "step"), [({}, 1), ({"accumulate_grad_batches": 2}, 1), ({"val_check_interval": 1}, 6)]
)
def test_stops_between_steps_alone(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any], options: dict[str, int], step: int
) -> None:
    """With no gradients gathered in vain, and never between a step and the validation that is due after it."""
    stop = StopGracefully(tmp_path)
    run = trainer(tmp_path, callbacks=[_Impatient(stop), stop], **options)
    try:
        # Of five batches an epoch two pairs are steps, the first of which ends no epoch.
        run.fit(module(tiny_model), data(tiny_camvid, batch_size=2 if "accumulate_grad_batches" in options else 3))
    except (SystemExit, KeyboardInterrupt):
        assert run.fit_loop.total_batch_idx + 1 == step * options.get("accumulate_grad_batches", 1)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == step


def test_checkpoint_describes_itself_and_scores_alike(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]
) -> None:
    run = trainer(tmp_path)
    run.fit(net := module(tiny_model), data(tiny_camvid))
    trained = run.callback_metrics["val/miou"].item()
    again = module(tiny_model)
    (scores,) = trainer(tmp_path / "again").validate(
        again, data(tiny_camvid), ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True
    )
    assert scores["val/miou"] == pytest.approx(trained, abs=1e-6)
    predictor = load(tmp_path / "last.ckpt", device="cpu")
    assert predictor.card.dataset == "camvid"
    assert predictor.card.data_origin == "patches of a test"
    assert predictor.card.input_size == (32, 48)
    image = tiny_camvid / "val" / "000.png"
    pixels = net.normalize(torch.from_numpy(read_image(image)).permute(2, 0, 1)[None])
    with torch.inference_mode():
        assert predictor(image).tolist() == net.evaluated.eval()(pixels).argmax(1)[0].tolist()


def test_loads_without_arguments(tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    run = trainer(tmp_path, max_steps=1)
    run.fit(module(tiny_model, loss=LossConfig(aux_weight=0.3)), data(tiny_camvid))
    run.save_checkpoint(tmp_path / "x.ckpt")
    net = SegmentationModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert net.loss == LossConfig(aux_weight=0.3)
    assert net.segmenter.card.options["base_channels"] == 8


def test_bfloat16_trains_and_scores_as_float32_does(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]
) -> None:
    dtypes: set[torch.dtype] = set()
    net = module(tiny_model, channels_last=False)
    net.segmenter.head.register_forward_hook(lambda *call: dtypes.add(call[-1].dtype))
    run = trainer(tmp_path, precision="bf16-mixed")
    run.fit(net, data(tiny_camvid))
    assert dtypes == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    (scores,) = trainer(tmp_path / "again").validate(
        module(tiny_model), data(tiny_camvid), ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True
    )
    for key in ("val/miou", "val/loss"):
        assert scores[key] == pytest.approx(run.callback_metrics[key].item(), rel=1e-5)


def test_starts_from_weights_of_other_classes(tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    donor = SegmentationModule(num_classes=4, **tiny_model)
    donor.segmenter.save_pretrained(tmp_path / "donor")
    net = SegmentationModule(num_classes=11, **tiny_model, weights=str(tmp_path / "donor"))
    ours, theirs = net.segmenter.state_dict(), donor.segmenter.state_dict()
    differing = {key for key in ours if ours[key].shape != theirs[key].shape}
    assert {key.rpartition(".")[0] for key in differing} == {"head.classifier.classify.2", "aux_head.classify.2"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() - differing)
    with pytest.raises(UserError, match=r"set model.attention=gfa\+ca"):
        SegmentationModule(num_classes=11, **{**tiny_model, "attention": "sa"}, weights=str(tmp_path / "donor"))


def test_bad_labels_stop_with_their_file(tmp_path: Path, tiny_model: dict[str, Any]) -> None:
    for name in ("train", "trainannot", "val", "valannot"):
        (tmp_path / name).mkdir()
        for k in range(2):
            cv2.imwrite(
                str(tmp_path / name / f"{k}.png"), np.full((8, 8) if "annot" in name else (8, 8, 3), 77, np.uint8)
            )
    with pytest.raises(UserError, match=r"77.*64"):
        trainer(tmp_path / "run").fit(module(tiny_model), data(tmp_path, batch_size=2))


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_checkpoint_keeps_its_moving_average(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any], decay: float
) -> None:
    """Scoring the plain weights of a run whose average was scored would silently give another figure."""
    run = trainer(tmp_path, max_steps=1)
    run.fit(module(tiny_model, ema_decay=decay), data(tiny_camvid))
    run.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="ema_decay"):
        trainer(tmp_path).validate(
            module(tiny_model, ema_decay=0.9 - decay),
            data(tiny_camvid),
            ckpt_path=tmp_path / "x.ckpt",
            weights_only=True,
        )


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_refuses_bad_decay(decay: float) -> None:
    with pytest.raises(UserError, match="ema_decay"):
        SegmentationModule(ema_decay=decay)


def test_refuses_options_that_are_keys() -> None:
    with pytest.raises(UserError, match=r"model.options.head=conv is not an option: give it as model.head"):
        SegmentationModule(options={"head": "conv"})
