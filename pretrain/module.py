"""Training and evaluation of a classifier on ImageNet, as Lightning wants it.

B batch, K classes, S image size.
"""

from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric

from pretrain.data.mixing import MixConfig, Mixing
from pretrain.data.samples import IGNORED, Batch
from pretrain.networks.classifier import classifier_options, create_classifier
from pretrain.optim import OptimConfig, create_optimizer
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, choose_attention, list_models
from rtseg.models.model_card import ModelCard
from rtseg.options import check_reserved
from rtseg.plugins import noting
from rtseg.training.network_module import NetworkModule
from rtseg.training.settings import TRAINER


class Scores(Metric):
    """Top-1, top-5 and mean cross-entropy over all images and processes; their sums are counted, since means over
    processes with unequal numbers of images are not the mean. Images labelled `IGNORED` do not count.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.counts: Tensor
        self.losses: Tensor
        self.not_finite: Tensor
        self.add_state("counts", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")  # top-1, top-5, images
        self.add_state("losses", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("not_finite", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")  # images

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Counts a batch, of which any number of images may be ignored."""
        logits, label = logits[label != IGNORED].float(), label[label != IGNORED]
        hits = logits.topk(min(5, logits.shape[1])).indices == label[:, None]
        # Not in place: Lightning evaluates in inference mode, whose tensors refuse that outside it.
        self.counts = self.counts + torch.stack(
            [hits[:, 0].sum(), hits.sum(), hits.new_tensor(len(label), dtype=torch.int64)]
        )
        self.losses = self.losses + F.cross_entropy(logits, label, reduction="sum")
        self.not_finite = self.not_finite + logits.isfinite().all(1).logical_not().sum()

    def compute(self) -> dict[str, Tensor]:
        """The scores, NaN where logits are not finite, and "not_finite": of how many images they are not."""
        top1, top5, images = self.counts
        scores = {"top1": top1 / images, "top5": top5 / images, "loss": self.losses / images}
        if self.not_finite:
            scores = {name: torch.full_like(value, torch.nan) for name, value in scores.items()}
        return {**scores, "not_finite": self.not_finite}


class ClassificationModule(NetworkModule[nn.Module]):
    """A classifier in training. Logs `train/loss`, `val/top1`, `val/top5`, `val/loss`.

    Args:
        name: name of the network; `python -m pretrain list` prints them.
        num_classes: the command line takes it from the images.
        attention: "low+high", see `rtseg.attention`; null: the network's own.
        options: of the network, e.g. {"injection": [true, true]}.
        optim, mix: see `OptimConfig`, `MixConfig`.
        ema_decay: decay of the moving average of the weights, which is then evaluated and exported; 0 for none.
        compile: compile the forward pass (`torch.compile`).
        channels_last: keep feature maps channels-last, which is faster on CPUs and on GPUs with tensor cores.
        batch_size: global, of one optimizer step; the command line takes it from the data.
        seed: seed of random erasing, Mixup and drop path.
        nonfinite: a step whose loss or gradient is not finite ends the training ("stop"), or is left out and counted
            ("skip").
    """

    # The data cut a batch into the parts that are accumulated, by the number of devices.
    trainer_settings = tuple(name for name in TRAINER if name != "accumulate_grad_batches")
    may_be_lengthened = False
    optim: OptimConfig
    part = "classifier"
    replay_command = "python -m pretrain replay"
    batch_type = Batch

    def __init__(
        self,
        name: str = "rtformer_slim",
        num_classes: int = 1000,
        attention: str | None = None,
        options: dict[str, Any] | None = None,
        optim: OptimConfig = OptimConfig(),  # noqa: B008  (frozen)
        mix: MixConfig = MixConfig(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        channels_last: bool = True,
        batch_size: int | None = None,
        seed: int = 0,
        nonfinite: str = "stop",
    ) -> None:
        optim = OptimConfig(**optim) if isinstance(optim, dict) else optim  # from a checkpoint's hyper-parameters
        mix = MixConfig(**mix) if isinstance(mix, dict) else mix
        options = classifier_options(name, options or {})
        check_reserved(options)
        with noting() as plugins:
            classifier = create_classifier(name, num_classes, attention=attention, **options)
        if name in list_models():
            attention = choose_attention(name, attention)
        self._card = ModelCard(
            name, attention or NO_ATTENTION, num_classes, options, part="classifier", plugins=tuple(sorted(plugins))
        )
        super().__init__(
            classifier, self._card, optim,
            ema_decay=ema_decay, channels_last=channels_last, batch_size=batch_size, seed=seed,
            nonfinite=nonfinite,
        )  # fmt: skip
        self.classifier = classifier
        # Plain values only: checkpoints are read with weights_only=True.
        self.save_hyperparameters(
            {
                "name": name, "num_classes": num_classes, "attention": attention, "options": options,
                "optim": asdict(optim), "mix": asdict(mix), "ema_decay": ema_decay, "compile": compile,
                "channels_last": channels_last, "batch_size": batch_size, "seed": seed, "nonfinite": nonfinite,
            }
        )  # fmt: skip
        self.mix, self.mixing = mix, Mixing(mix, num_classes)
        self.loss = SoftTargetCrossEntropy()
        # A method, since a module would be registered, and saved, a second time.
        self._forward = torch.compile(classifier.forward) if compile else classifier.forward
        self.scores = Scores()
        self._scored: dict[str, float] = {}  # the last validation
        self._skipped = 0.0  # images of this epoch; Lightning's own sums are in no checkpoint

    @property
    def network(self) -> nn.Module:
        return self.classifier

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def step_size(self) -> int | None:
        return self.batch_size  # the data cut it into the parts that are accumulated

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        self._card = replace(
            self._card, class_names=tuple(data.classes), dataset="imagenet", input_size=(data.augment.image_size,) * 2
        )
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        if stage == "fit" and self.mixing.mixup and data.batch_size // parts % 2:
            raise UserError(
                f"data.batch_size={data.batch_size} over {parts} devices or accumulated parts is "
                f"{data.batch_size // parts} images at a time: Mixup pairs images, so make that even"
            )

    def on_train_start(self) -> None:
        super().on_train_start()
        optim, scale = self.optim, self.optim.batch_scale(self.step_size)
        if self.card.model not in list_models():
            rank_zero_info(f"{self.card.model} classifies only: there is no segmentation network to hand it over to.")
        first, peak, end = (f"{scale * rate:.2e}" for rate in (optim.warmup_lr, optim.lr, optim.min_lr))
        climb = f"{first} to {peak} in {optim.warmup_epochs:g} epochs, then" if optim.warmup_epochs else peak
        rank_zero_info(
            f"{self.card.num_classes} classes; {self.total_steps()} steps of {self.step_size} images; learning rate "
            f"from {climb} by a cosine to {end}."
        )

    def create_optimizer(self, total_steps: int) -> tuple[Optimizer, LambdaLR]:
        self.trainer.fit_loop.setup_data()  # the number of batches is known only then
        steps_per_epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        return create_optimizer(
            self.classifier, self.optim, total_steps=total_steps, steps_per_epoch=steps_per_epoch,
            batch_size=self.step_size,
        )  # fmt: skip

    def losses(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        image, target = self.mixing(self.prepare(batch.image), batch.label, seed)
        logits = self._forward(image)
        # The loss in float32 at least, whatever the precision of the network.
        return {"main": self.loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), target)}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._skipped = float(batch.skipped) + (self._skipped if batch_idx else 0)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("data/skipped_train", self._skipped, reduce_fx="sum", sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with self.full_precision():
            logits = self.evaluated(self.prepare(batch.image))
        self.scores.update(logits, batch.label)
        self.log("data/skipped_val", float(batch.skipped), batch_size=1, reduce_fx="sum", sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        results = self.scores.compute()
        self.scores.reset()
        not_finite = int(results.pop("not_finite"))
        self.check_scored(not_finite)
        if not_finite:
            rank_zero_info(f"The logits of {not_finite} validation images are not finite: there is no score.")
        elif results["top1"].isnan():
            raise UserError("not one validation image could be read: python -m pretrain check-data says why")
        for name, value in results.items():
            self.log(f"val/{name}", value, prog_bar=name == "top1", sync_dist=True)
        self._scored = {"step": self.global_step, **{f"val/{name}": float(value) for name, value in results.items()}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["skipped_images"] = self._skipped
        if self._scored.get("step") == checkpoint["global_step"]:
            checkpoint["scores"] = self._scored

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._skipped = checkpoint.get("skipped_images", 0.0)
