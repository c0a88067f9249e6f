"""Training and evaluation of Mask R-CNN, as Lightning wants it.

K classes, H, W height and width of an image.
"""

from dataclasses import asdict, replace
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchvision.models.detection import MaskRCNN

from rtseg.data.dataset import default_palette
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.options import check_reserved
from rtseg.plugins import noting
from rtseg.tasks.instances.detections import detect
from rtseg.tasks.instances.mask_rcnn import create_network
from rtseg.tasks.instances.optim import InstanceOptim, create_optimizer
from rtseg.tasks.instances.samples import Batch, Sample
from rtseg.tasks.instances.scores import InstanceScores
from rtseg.tasks.instances.weights import load_weights
from rtseg.training.network_module import NetworkModule


class InstanceModule(NetworkModule[MaskRCNN]):
    """Mask R-CNN in training. Logs `train/loss` and its five terms, and `val/mask_ap`, `val/box_ap` and their kin, see
    `InstanceScores.compute`.

    Args:
        name: of the network, such as mask_rcnn_resnet50 or mask_rcnn_timm:convnext_tiny.
        num_classes: K; the command line takes it from the annotation file.
        insert: place -> attention that is inserted there, e.g. {"layer3": "fa:basis=64"}; see
            `rtseg.attention.insertion`.
        options: see `MaskRCNNOptions`, e.g. {"channels": 64}.
        weights: what to start from: a file, or imagenet or coco for what is published; see `load_weights`.
        optim: see `InstanceOptim`.
        ema_decay: of the moving average of the weights, which is then what is evaluated and used; 0 for none.
        channels_last: keep feature maps channels-last.
        batch_size: global; the command line takes it from the data.
        seed: of the boxes that are drawn for the loss, and of the sizes that images are resized to.
        nonfinite: a step whose loss or gradient is not finite ends the training ("stop"), or is left out and counted
            ("skip").
    """

    optim: InstanceOptim
    part = "detector"
    replay_command = "rtseg instances replay"
    batch_type = Batch

    def __init__(
        self,
        name: str = "mask_rcnn_resnet50",
        num_classes: int = 80,
        insert: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        weights: str | None = None,
        optim: InstanceOptim = InstanceOptim(),  # noqa: B008  (frozen)
        ema_decay: float = 0.0,
        channels_last: bool = False,
        batch_size: int | None = None,
        seed: int = 0,
        nonfinite: str = "stop",
    ) -> None:
        optim = InstanceOptim(**optim) if isinstance(optim, dict) else optim  # from a checkpoint's hyper-parameters
        options = dict(options or {})
        check_reserved(options)
        with noting() as plugins:
            built = create_network(name, num_classes, insert=insert, **options)
        if weights is not None:
            for line in load_weights(built, weights).lines():
                rank_zero_info(line)
        seen = built.network.transform
        self._card = ModelCard(
            name, NO_ATTENTION, num_classes, options, insert=built.insert, part=self.part,
            plugins=tuple(sorted(plugins)), mean=seen.image_mean, std=seen.image_std,
        )  # fmt: skip
        super().__init__(
            built.network, self._card, optim,
            ema_decay=ema_decay, channels_last=channels_last, batch_size=batch_size, seed=seed,
            nonfinite=nonfinite,
        )  # fmt: skip
        self.detector = built.network
        card = self._card.to_dict()
        # Plain values only: checkpoints are read with weights_only=True.
        self.save_hyperparameters(
            {
                "name": name, "num_classes": num_classes, "insert": card["insert"], "options": card["options"],
                "optim": asdict(optim), "ema_decay": ema_decay, "channels_last": channels_last,
                "batch_size": batch_size, "seed": seed, "nonfinite": nonfinite,
            }
        )  # fmt: skip
        self.scores = InstanceScores()

    @property
    def network(self) -> MaskRCNN:
        return self.detector

    @property
    def card(self) -> ModelCard:
        return self._card

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            names, ids = data.classes.names, data.classes.ids
            self._card = replace(
                self._card, class_names=names, ids=ids, palette=default_palette(len(names)), dataset="coco"
            )
            if stage == "fit":
                self._card = replace(self._card, data_origin=data.origin)
        super().setup(stage)

    def create_optimizer(self, total_steps: int) -> tuple[Optimizer, LambdaLR]:
        return create_optimizer(self.detector, self.optim, total_steps=total_steps, batch_size=self.step_size)

    def losses(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)  # of the boxes that the loss is counted on
        targets = [
            {"boxes": boxes, "labels": labels + 1, "masks": masks.byte()}  # 0 is the background
            for boxes, labels, masks in zip(batch.boxes, batch.labels, batch.masks, strict=True)
        ]
        terms: dict[str, Tensor] = self.detector([image / 255 for image in batch.image], targets)
        return {key.removeprefix("loss_"): value for key, value in terms.items()}

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        with self.full_precision():
            found = detect(self.evaluated, batch.image)
        self.scores.update(found, batch.objects)

    def on_validation_epoch_end(self) -> None:
        names = self.card.class_names or tuple(map(str, range(self.card.num_classes)))
        for name, value in self.scores.compute(names).items():
            number = torch.tensor(value, device=self.device)
            self.log(f"val/{name}", number, prog_bar=name in ("mask_ap", "box_ap"), sync_dist=True)
