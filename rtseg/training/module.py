"""Training and evaluation of a segmenter, as Lightning wants it.

B batch, K classes, H, W height and width.
"""

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric

from rtseg.data.dataset import Sample
from rtseg.deploy.protocol import Protocol
from rtseg.layers.conv import upsample_to
from rtseg.layers.normalize import Normalize
from rtseg.metrics import confusion_matrix, iou, mean_iou, pixel_accuracy
from rtseg.models import create_model
from rtseg.models.backbone import choose_attention, choose_head
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter, describe
from rtseg.options import check_reserved
from rtseg.scores import ImageCounts, Scores
from rtseg.scores.boundary import boundary_counts
from rtseg.scores.scores import image_counts
from rtseg.terminal import say
from rtseg.training.datamodule import SegmentationData, named_files
from rtseg.training.losses import LossConfig, TotalLoss
from rtseg.training.losses.base import SMALLEST
from rtseg.training.losses.cross_entropy import pixel_loss, pixel_sums
from rtseg.training.network_module import NetworkModule
from rtseg.training.optim import OptimConfig, create_optimizer
from rtseg.training.pretrained import load_pretrained


class Evaluated(NamedTuple):
    """What an evaluation counted.

    Attributes:
        counts: (K, K), see `confusion_matrix`.
        loss: mean of the images' losses.
        not_finite: images whose logits were not finite.
        of_images: (N, 1 + 3K): the number of each image, and its `image_counts`; none where they are not told apart.
        boundaries: (3, K), see `boundary_counts`.
    """

    counts: Tensor
    loss: Tensor
    not_finite: int
    of_images: Tensor
    boundaries: Tensor


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
        self.not_finite: Tensor
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("losses", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("not_finite", torch.zeros(()), dist_reduce_fx="sum")
        self.of_images: list[Tensor]
        self.add_state("of_images", [], dist_reduce_fx="cat")
        self.boundary_width: float | None = None  # of the boundary IoU, which takes long, where it is asked for
        self.boundaries: Tensor
        self.add_state("boundaries", torch.zeros(3, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, mask: Tensor, loss: Tensor, *, finite: bool, index: int | None = None) -> None:
        """Counts one image.

        Args:
            finite: its logits; class 0 is the largest of NaN, so that what is predicted from others is no score.
            index: its number in the data set, where images are told apart.
        """
        # Not in place: Lightning evaluates in inference mode, whose tensors refuse that outside it.
        counts = confusion_matrix(pred, mask, self.num_classes, ignore_index=self.ignore_index)
        self.counts = self.counts + counts
        if index is not None:
            number = torch.full((1,), index, dtype=torch.int64, device=counts.device)
            self.of_images.append(torch.cat([number, image_counts(counts).flatten()])[None])
        if self.boundary_width is not None:
            maps = pred.cpu().numpy(), mask.cpu().numpy()
            width, ignore = self.boundary_width, self.ignore_index
            edges = boundary_counts(*maps, self.num_classes, width=width, ignore_index=ignore)
            self.boundaries = self.boundaries + torch.from_numpy(edges).to(counts.device)
        self.losses, self.images = self.losses + loss, self.images + 1
        self.not_finite = self.not_finite + (not finite)

    def compute(self) -> Evaluated:
        """What all processes counted."""
        found = self.of_images
        rows = found if isinstance(found, Tensor) else torch.cat(found) if found else self.counts.new_zeros(0, 1)
        return Evaluated(
            self.counts.cpu(), self.losses / self.images, int(self.not_finite), rows.cpu(), self.boundaries.cpu()
        )


class ScoredImage(NamedTuple):
    """Class map (H, W), mean loss of its labelled pixels, and whether its logits were finite."""

    pred: Tensor
    loss: Tensor
    finite: bool


class SegmentationModule(NetworkModule[Segmenter]):
    """A segmenter in training. Logs `train/loss` and each output's share `train/loss_<output>`, `val/loss`, `val/miou`,
    `val/accuracy`, `val/iou_<class>`.

    Args:
        name: of the model, one of `rtseg list models`, or timm:NAME.
        num_classes, in_channels: the command line takes them from the data set; see `create_model`.
        attention: "low+high", see `rtseg.attention`; null: the model's own.
        head: one of `rtseg.list_heads()`; null: the model's own.
        insert: place -> attention that is inserted there, e.g. {"stage3": "fa:basis=64"}; see
            `rtseg.attention.insertion`.
        options: of the model, e.g. {"cross_size": 12}.
        weights: a checkpoint, a folder with safetensors, a published name or a Hugging Face id to start from; a
            classifier of other classes starts fresh. For a network of timm also timm's weights: a .safetensors or
            .pth file, or timm:NAME to fetch what timm publishes.
        loss, optim: see `LossConfig`, `OptimConfig`.
        ema_decay: of the moving average of the weights, which is then what is evaluated and used; 0 for none.
        compile: compile the forward pass (`torch.compile`).
        channels_last: keep feature maps channels-last, which is faster on CPUs and on GPUs with tensor cores.
        batch_size: global; the command line takes it from the data.
        seed: of drop path.
        nonfinite: a step whose loss or gradient is not finite ends the training ("stop"), or is left out and counted
            ("skip").

    Attributes:
        protocol: how images are shown where they are scored; whoever sets it gives the data its `resize`.
        scores: of the last `validate` or `test`.
    """

    optim: OptimConfig
    part = "segmenter"
    replay_command = "rtseg replay"
    batch_type = Sample

    def __init__(
        self,
        name: str = "rtformer_slim",
        num_classes: int = 19,
        attention: str | None = None,
        head: str | None = None,
        insert: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        weights: str | None = None,
        loss: LossConfig = LossConfig(),  # noqa: B008  (frozen)
        optim: OptimConfig = OptimConfig(),  # noqa: B008
        ema_decay: float = 0.0,
        compile: bool = False,
        channels_last: bool = True,
        batch_size: int | None = None,
        seed: int = 0,
        nonfinite: str = "stop",
        in_channels: int | None = None,
    ) -> None:
        loss = LossConfig(**loss) if isinstance(loss, dict) else loss  # from a checkpoint's hyper-parameters
        optim = OptimConfig(**optim) if isinstance(optim, dict) else optim
        attention, head, options = choose_attention(name, attention), choose_head(name, head), dict(options or {})
        check_reserved(options)
        segmenter = create_model(
            name, num_classes, attention=attention, head=head, insert=insert, in_channels=in_channels, **options
        )
        if weights is not None:
            for line in load_pretrained(segmenter, weights):
                rank_zero_info(line)
        super().__init__(
            segmenter, segmenter.card, optim,
            ema_decay=ema_decay, channels_last=channels_last, batch_size=batch_size, seed=seed,
            nonfinite=nonfinite,
        )  # fmt: skip
        self.segmenter = segmenter
        # Plain values only: checkpoints are read with weights_only=True.
        self.save_hyperparameters(
            {
                "name": name, "num_classes": num_classes, "attention": attention, "head": head,
                "insert": segmenter.card.to_dict()["insert"], "options": options,
                "loss": asdict(loss), "optim": asdict(optim), "ema_decay": ema_decay,
                "compile": compile, "channels_last": channels_last, "batch_size": batch_size, "seed": seed,
                "nonfinite": nonfinite, "in_channels": in_channels,
            }
        )  # fmt: skip
        self.loss = loss
        self._forward_train = torch.compile(self.segmenter.forward_train) if compile else self.segmenter.forward_train
        self.total_loss = TotalLoss(segmenter.backbone.outputs, loss)
        self.evaluation = Evaluation(num_classes, self.segmenter.card.ignore_index)
        self.protocol = Protocol()
        self.scores: Scores | None = None

    @property
    def network(self) -> Segmenter:
        return self.segmenter

    @property
    def card(self) -> ModelCard:
        return self.segmenter.card

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            labels = data.labels
            facts = {
                "class_names": labels.names, "palette": labels.palette, "ids": labels.ids,
                "ignore_index": labels.ignore_index, "dataset": data.dataset, "input_size": tuple(data.crop_size),
                "eval_resize": data.eval_transform.resize and tuple(data.eval_transform.resize),
                "upsampling": data.upsampling,
            }  # fmt: skip
            if stage == "fit":
                facts["data_origin"] = data.origin
            if data.mean is not None:
                facts |= {"mean": data.mean, "std": data.std}
            for network in {self.segmenter, self.evaluated}:
                describe(network, **facts, shown=data.shown)
            self.normalize = Normalize(self.card.mean, self.card.std).to(self.device)
        if stage == "fit" and isinstance(self.loss.class_weights, (dict, str)):
            self.loss = self.loss.for_classes(self.card.class_names)
            self.hparams["loss"]["class_weights"] = self.loss.class_weights
            self.total_loss = TotalLoss(self.segmenter.backbone.outputs, self.loss)
        super().setup(stage)

    def create_optimizer(self, total_steps: int) -> tuple[Optimizer, LambdaLR]:
        return create_optimizer(self.segmenter, self.optim, total_steps=total_steps, batch_size=self.step_size)

    def losses(self, batch: Sample[Tensor], seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)  # of drop path
        outputs = self._forward_train(self.prepare(batch.image))
        return self.total_loss.weighted(outputs, batch.mask.long(), ignore_index=self.segmenter.card.ignore_index)

    def _evaluate(self, batch: Sample[Tensor], batch_idx: int) -> Tensor:
        """The class map of one image, which is counted."""
        mask = batch.mask.long()  # uint8 on its way to the device
        score = self._score if self.protocol.is_whole else self._score_by_protocol
        found = score(batch.image, mask)
        if not found.finite and not self.evaluation.not_finite:
            say(f"The logits of image '{batch.name}' are not finite, the first of this validation.")
        scores_only = self.trainer.state.fn != "fit"
        index = self.global_rank + self.trainer.world_size * batch_idx if scores_only else None  # as `ShardSampler`
        self.evaluation.update(found.pred, mask, found.loss, finite=found.finite, index=index)
        return found.pred

    def _score(self, image: Tensor, mask: Tensor) -> ScoredImage:
        with self.full_precision():
            logits = self.evaluated.logits(self.prepare(image[None])).float()
        finite = bool(logits.isfinite().all())
        if self.card.upsampling == "twice":
            logits = upsample_to(logits, (image.shape[1], image.shape[2]))
        if logits.shape[-2:] != mask.shape:
            logits = upsample_to(logits, (mask.shape[0], mask.shape[1]))
        loss = pixel_loss(logits, mask[None], LossConfig(), ignore_index=self.segmenter.card.ignore_index)
        return ScoredImage(logits[0].argmax(0), loss, finite)

    def _score_by_protocol(self, image: Tensor, mask: Tensor) -> ScoredImage:
        """In memory that follows neither the scales nor the classes at full size."""
        finite = True

        def run(shown: Tensor) -> Tensor:
            nonlocal finite
            logits = self.evaluated.logits(self.prepare(shown)).float()
            finite = finite and bool(logits.isfinite().all())
            return logits

        size = mask.shape[0], mask.shape[1]
        parts, sums = [], []
        with self.full_precision():
            for rows, logits in self.protocol.rows(run, image[None].float(), size):
                parts.append(logits[0].argmax(0))
                sums.append(
                    pixel_sums(logits, mask[None, rows], LossConfig(), ignore_index=self.segmenter.card.ignore_index)
                )
        total, count = (torch.stack(each).sum() for each in zip(*sums, strict=True))
        return ScoredImage(torch.cat(parts), total / count.clamp(min=SMALLEST), finite)

    def _log_scores(self, stage: str) -> None:
        found = self.evaluation.compute()  # on the CPU: scores are float64, which Apple's GPUs do not have
        counts, loss, not_finite = found[:3]
        self.evaluation.reset()
        self.check_scored(not_finite)
        names = self.segmenter.card.class_names or [str(k) for k in range(len(counts))]
        scores = {
            f"{stage}/loss": loss,
            f"{stage}/miou": mean_iou(counts),
            f"{stage}/accuracy": pixel_accuracy(counts),
            **{f"{stage}/iou_{name}": value for name, value in zip(names, iou(counts), strict=True)},
        }
        for name, value in scores.items():
            number = value.float().to(self.device) if not not_finite else torch.full((), torch.nan, device=self.device)
            self.log(name, number, prog_bar=name == f"{stage}/miou", sync_dist=True)
        if self.trainer.state.fn != "fit":
            self.scores = self._all_scores(stage, tuple(names), found)

    def _all_scores(self, stage: str, names: tuple[str, ...], found: Evaluated) -> Scores:
        """What a command that scores shows."""
        rows = found.of_images[found.of_images[:, 0].argsort()]
        data = getattr(self.trainer, "datamodule", None)
        files = named_files(data.split(stage)) if isinstance(data, SegmentationData) else []
        images = tuple(files[i] if i < len(files) else str(i) for i in rows[:, 0].tolist())
        width = self.evaluation.boundary_width
        return Scores(
            names,
            found.counts,
            ImageCounts(images, rows[:, 1:].reshape(len(rows), 3, -1).numpy()),
            found.boundaries.numpy() if width is not None else None,
            width,
        )

    def validation_step(self, batch: Sample[Tensor], batch_idx: int) -> Tensor:
        return self._evaluate(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def test_step(self, batch: Sample[Tensor], batch_idx: int) -> Tensor:
        return self._evaluate(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")
