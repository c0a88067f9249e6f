"""Training and evaluation of a segmenter, as Lightning wants it.

B batch, K classes, H, W height and width.
"""

from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.nn import SyncBatchNorm
from torchmetrics import Metric

from rtseg.data.dataset import Sample
from rtseg.errors import UserError
from rtseg.layers.conv import upsample_to
from rtseg.layers.normalize import Normalize
from rtseg.metrics import confusion_matrix, iou, mean_iou, pixel_accuracy
from rtseg.models import create_model
from rtseg.models.backbone import choose_attention
from rtseg.models.segmenter import Segmenter, describe
from rtseg.training.losses import LossConfig, pixel_loss, segmentation_loss
from rtseg.training.optim import OptimConfig, create_optimizer
from rtseg.training.pretrained import load_pretrained
from rtseg.training.sampling import sample_seed


class Evaluation(Metric):
    """One confusion matrix over all images and processes, from which every score comes, and the mean of their losses.

    The mean is not left to `self.log`: over processes with unequal numbers of images it divides by a rounded number.
    """

    full_state_update = False

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts: Tensor
        self.losses: Tensor
        self.images: Tensor
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("losses", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, pred: Tensor, mask: Tensor, loss: Tensor) -> None:
        """Of one image."""
        # Not in place: Lightning evaluates in inference mode, whose tensors refuse that outside it.
        self.counts = self.counts + confusion_matrix(pred, mask, self.num_classes, ignore_index=self.ignore_index)
        self.losses, self.images = self.losses + loss, self.images + 1

    def compute(self) -> tuple[Tensor, Tensor]:
        return self.counts, self.losses / self.images


class SegmentationModule(L.LightningModule):
    """A segmenter in training. Logs `train/loss`, `val/loss`, `val/miou`, `val/accuracy`, `val/iou_<class>`.

    Args:
        name: of the model, one of `rtseg.list_models()`.
        num_classes: the command line takes it from the data set.
        attention: "low+high", see `rtseg.attention`; null: the model's own.
        options: of the model, e.g. {"cross_size": 12}.
        weights: a checkpoint, a folder with safetensors or a Hugging Face id to start from; a classifier of other
            classes starts fresh.
        loss, optim: see `LossConfig`, `OptimConfig`.
        ema_decay: of the moving average of the weights, which is then what is evaluated and used; 0 for none.
        compile: compile the forward pass (`torch.compile`).
        channels_last: keep feature maps channels-last, which is faster on CPUs and on GPUs with tensor cores.
        batch_size: global; the command line takes it from the data.
        seed: of drop path.
    """

    def __init__(
        self,
        name: str = "rtformer_slim",
        num_classes: int = 19,
        attention: str | None = None,
        options: dict[str, Any] | None = None,
        weights: str | None = None,
        loss: LossConfig = LossConfig(),  # noqa: B008  (frozen)
        optim: OptimConfig = OptimConfig(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        channels_last: bool = True,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= ema_decay < 1:
            raise UserError(f"model.ema_decay={ema_decay} must be at least 0 (none) and below 1, as 0.999")
        loss = LossConfig(**loss) if isinstance(loss, dict) else loss  # from a checkpoint's hyper-parameters
        optim = OptimConfig(**optim) if isinstance(optim, dict) else optim
        attention = choose_attention(name, attention)
        # Plain values only: checkpoints are read with weights_only=True.
        self.save_hyperparameters(
            {
                "name": name, "num_classes": num_classes, "attention": attention, "options": dict(options or {}),
                "loss": asdict(loss), "optim": asdict(optim), "ema_decay": ema_decay, "compile": compile,
                "channels_last": channels_last, "batch_size": batch_size, "seed": seed,
            }
        )  # fmt: skip
        self.loss, self.optim, self.batch_size, self.seed = loss, optim, batch_size, seed
        self.segmenter = create_model(name, num_classes, attention=attention, **(options or {}))
        if weights is not None:
            for line in load_pretrained(self.segmenter, weights):
                rank_zero_info(line)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.segmenter.to(memory_format=self.memory_format)
        self.normalize = Normalize(self.segmenter.card.mean, self.segmenter.card.std)
        self.ema: ModelEmaV3 | None = None
        if ema_decay:
            # PaddleSeg's warm-up of the decay: 1 - 1 / (step + 1).
            self.ema = ModelEmaV3(self.segmenter, decay=ema_decay, use_warmup=True, warmup_power=1.0)
            self.ema.requires_grad_(False)
        self._forward_train = torch.compile(self.segmenter.forward_train) if compile else self.segmenter.forward_train
        self.evaluation = Evaluation(num_classes, self.segmenter.card.ignore_index)

    @property
    def evaluated(self) -> Segmenter:
        """What is scored and used: the moving average where there is one."""
        return self.ema.module if self.ema is not None else self.segmenter

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            labels = data.labels
            facts = {
                "class_names": labels.names, "palette": labels.palette, "ids": labels.ids,
                "ignore_index": labels.ignore_index, "dataset": data.dataset, "input_size": tuple(data.crop_size),
                "eval_resize": data.eval_transform.resize and tuple(data.eval_transform.resize),
            }  # fmt: skip
            for network in {self.segmenter, self.evaluated}:
                describe(network, **facts)
        batch_size = self._step_size
        if stage == "fit" and batch_size and (scale := self.optim.batch_scale(batch_size)) != 1:
            rank_zero_info(
                f"Learning rate {self.optim.lr * scale:.2e}: {self.optim.lr:.2e} is for a batch of "
                f"{self.optim.lr_batch_size}, this one is {batch_size}."
            )

    def on_train_start(self) -> None:
        synchronised = any(isinstance(module, SyncBatchNorm) for module in self.segmenter.modules())
        if self.trainer.world_size > 1 and not synchronised:
            rank_zero_info(
                f"BatchNorm sees one process's images at a time, 1/{self.trainer.world_size} of a batch: the result "
                "depends on the number of processes. PyTorch synchronises it on CUDA only (trainer.sync_batchnorm)."
            )

    @property
    def _step_size(self) -> int | None:
        """Samples behind one step of the optimizer."""
        return self.batch_size and self.batch_size * self.trainer.accumulate_grad_batches

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.trainer.max_steps == -1 and (self.trainer.max_epochs or -1) == -1:
            raise UserError("the learning-rate schedule needs an end: set trainer.max_steps or trainer.max_epochs")
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer, schedule = create_optimizer(
            self.segmenter, self.optim, total_steps=steps, batch_size=self._step_size
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _prepare(self, image: Tensor) -> Tensor:
        return self.normalize(image).contiguous(memory_format=self.memory_format)

    def on_train_batch_start(self, batch: Sample[Tensor], batch_idx: int) -> None:
        # The step that loggers write; Lightning's own count drifts by one with every resume.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def training_step(self, batch: Sample[Tensor], batch_idx: int) -> Tensor:
        # Drop path draws from (seed, batch, process), so a resumed training needs no saved random state.
        batches_so_far = self.trainer.fit_loop.total_batch_idx
        torch.manual_seed(sample_seed(self.seed, batches_so_far, self.global_rank))
        main, aux = self._forward_train(self._prepare(batch.image))
        loss = segmentation_loss(main, aux, batch.mask, self.loss, ignore_index=self.segmenter.card.ignore_index)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.image))
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.segmenter, step=self.global_step + 2)  # 0-based in this hook; timm takes 1 off

    def _evaluate(self, batch: Sample[Tensor]) -> Tensor:
        # Without the training's mixed precision: a score must not depend on the flags of the command that asks for it.
        with torch.autocast(self.device.type, enabled=False):
            logits = self.evaluated.logits(self._prepare(batch.image[None])).float()
        # Stride 8 -> network input -> original size, the reference's two steps where evaluation resizes.
        logits = upsample_to(logits, (batch.image.shape[1], batch.image.shape[2]))
        if logits.shape[-2:] != batch.mask.shape:
            logits = upsample_to(logits, (batch.mask.shape[0], batch.mask.shape[1]))
        loss = pixel_loss(logits, batch.mask[None], LossConfig(), ignore_index=self.segmenter.card.ignore_index)
        pred = logits[0].argmax(0)
        self.evaluation.update(pred, batch.mask, loss)
        return pred

    def _log_scores(self, stage: str) -> None:
        counts, loss = self.evaluation.compute()
        counts = counts.cpu()  # scores are float64, which Apple's GPUs do not have
        names = self.segmenter.card.class_names or [str(k) for k in range(len(counts))]
        self.log(f"{stage}/loss", loss, sync_dist=True)
        self.log(f"{stage}/miou", mean_iou(counts).float().to(self.device), prog_bar=True, sync_dist=True)
        self.log(f"{stage}/accuracy", pixel_accuracy(counts).float().to(self.device), sync_dist=True)
        ious = iou(counts).float().to(self.device)
        by_class = {f"{stage}/iou_{name}": value for name, value in zip(names, ious, strict=True)}
        self.log_dict(by_class, sync_dist=True)
        self.evaluation.reset()

    def on_validation_epoch_start(self) -> None:
        self.evaluated.eval()

    def on_test_epoch_start(self) -> None:
        self.evaluated.eval()

    def validation_step(self, batch: Sample[Tensor], batch_idx: int) -> Tensor:
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def test_step(self, batch: Sample[Tensor], batch_idx: int) -> Tensor:
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The checkpoint describes itself.

        The card, and the moving average under its own key, both readable without Lightning.
        """
        checkpoint["model_card"] = self.segmenter.card.to_dict()
        state = checkpoint["state_dict"]
        average = {key: state.pop(key) for key in list(state) if key.startswith("ema.")}
        if average:
            checkpoint["ema_state_dict"] = {key.removeprefix("ema.module."): value for key, value in average.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        theirs, ours = checkpoint.get("model_card", {}).get("num_classes"), self.segmenter.card.num_classes
        if theirs != ours:
            raise UserError(
                f"the checkpoint has {theirs} classes, the data set {ours}: give the data set that it was trained on "
                "(data.dataset, data.root), or start a new training from it with model.weights"
            )
        average = checkpoint.get("ema_state_dict", {})
        if bool(average) != (self.ema is not None):
            kind, setting = ("with", "above 0, as it was,") if average else ("without", "to 0")
            raise UserError(
                f"the checkpoint was trained {kind} a moving average of its weights: set model.ema_decay {setting} "
                "or start a new training from it with model.weights"
            )
        if self._trainer is not None and self._trainer.state.fn == "fit":
            self._check_optim(checkpoint["hyper_parameters"])
        checkpoint["state_dict"] |= {f"ema.module.{key}": value for key, value in average.items()}

    def _check_optim(self, saved: dict[str, Any]) -> None:
        """The optimizer's state brings its old rates, so that new settings would be half obeyed."""
        for key, value in asdict(self.optim).items():
            if saved["optim"][key] != value:
                raise UserError(
                    f"model.optim.{key}={value} differs from the checkpoint's {saved['optim'][key]}; a resumed "
                    "training keeps its optimizer: give the same, or start a new one from its weights (model.weights)"
                )
