"""Training and evaluation of a stereo network, as Lightning wants it.

B batch, H, W height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rtseg.attention.insertion import as_insertion, resolve
from rtseg.models.model_card import ModelCard
from rtseg.tasks.stereo.data import StereoBatch
from rtseg.tasks.stereo.feature_extractor import FeatureExtractor
from rtseg.tasks.stereo.loss import stereo_loss
from rtseg.tasks.stereo.optim import StereoOptim, create_optimizer
from rtseg.tasks.stereo.psmnet import MAX_DISPARITY, PSMNet
from rtseg.tasks.stereo.scores import StereoScores
from rtseg.tasks.stereo.weights import PART, create_network, load_pretrained
from rtseg.training.network_module import NetworkModule


class StereoModule(NetworkModule[PSMNet]):
    """PSMNet in training. Logs `train/loss`, each map's share `train/loss_disparity1` to 3, and `val/epe`,
    `val/epe_batch_mean`, `val/error_3px`, `val/d1`, see `StereoScores`.

    Args:
        max_disparity: a multiple of 16; disparities from there on are neither learnt nor scored.
        insert: place -> attention, or a list of them, such as {"layer4": "fa:basis=64:heads=1"}.
        align_corners: how maps are upsampled; true for old weights of the authors.
        weights: a checkpoint or a folder to start from.
        optim: see `StereoOptim`.
        ema_decay: decay of the moving average of the weights, which is then evaluated and used; 0 for none.
        batch_size: global; the command line takes it from the data.
        seed: unused by PSMNet, which draws nothing at random; an inserted attention may.
        nonfinite: a step whose loss or gradient is not finite ends the training ("stop"), or is left out and counted
            ("skip").
    """

    optim: StereoOptim
    part = PART
    replay_command = "rtseg stereo replay"
    batch_type = StereoBatch
    classes_called = "disparities"

    def __init__(
        self,
        max_disparity: int = MAX_DISPARITY,
        insert: dict[str, str | list[str]] | None = None,
        align_corners: bool = False,
        weights: str | None = None,
        optim: StereoOptim = StereoOptim(),  # noqa: B008  (frozen)
        ema_decay: float = 0.0,
        batch_size: int | None = None,
        seed: int = 0,
        nonfinite: str = "stop",
    ) -> None:
        optim = StereoOptim(**optim) if isinstance(optim, dict) else optim  # from a checkpoint's hyper-parameters
        network, card = create_network(max_disparity, insert, align_corners=align_corners)
        if weights is not None:
            for line in load_pretrained(network, weights):
                rank_zero_info(line)
        super().__init__(
            network, card, optim,
            ema_decay=ema_decay, channels_last=False, batch_size=batch_size, seed=seed, nonfinite=nonfinite,
        )  # fmt: skip
        self.stereo, self._card = network, card
        # Plain values only: checkpoints are read with weights_only=True.
        self.save_hyperparameters(
            {
                "max_disparity": max_disparity, "insert": plain_insertion(insert), "align_corners": align_corners,
                "optim": asdict(optim), "ema_decay": ema_decay, "batch_size": batch_size, "seed": seed,
                "nonfinite": nonfinite,
            }
        )  # fmt: skip
        self.scores = StereoScores(max_disparity)

    @property
    def network(self) -> PSMNet:
        return self.stereo

    @property
    def card(self) -> ModelCard:
        return self._card

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            size = tuple(data.crop_size)
            self._card = replace(self._card, dataset=data.dataset, input_size=size, data_origin=data.origin)
        super().setup(stage)

    def create_optimizer(self, total_steps: int) -> tuple[Optimizer, LambdaLR]:
        return create_optimizer(self.stereo, self.optim, total_steps=total_steps, batch_size=self.step_size)

    def losses(self, batch: StereoBatch, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)  # of an attention that draws
        outputs = self.stereo(self.prepare(batch.image), self.prepare(batch.right))
        return stereo_loss([output.float() for output in outputs], batch.disparity, self.stereo.max_disparity)

    def validation_step(self, batch: StereoBatch, batch_idx: int) -> Tensor:
        with self.full_precision():
            predicted: Tensor = self.evaluated(self.prepare(batch.image), self.prepare(batch.right))
        self.scores.update(predicted, batch.disparity, sum(batch.bad))
        return predicted

    def on_validation_epoch_end(self) -> None:
        scores, without, not_finite, bad, pixels = self.scores.compute()
        self.scores.reset()
        self.check_scored(not_finite)
        if not_finite:
            rank_zero_info(f"The disparities of {not_finite} validation images are not finite: there is no score.")
        if without:
            rank_zero_info(
                f"{without} validation images have no disparity below {self.stereo.max_disparity}, and do not count."
            )
        if bad:
            rank_zero_info(f"{bad:,} disparities that are NaN or negative were left out of the score.")
        if self.trainer.state.fn != "fit":
            rank_zero_info(f"{pixels:,} pixels with a disparity below {self.stereo.max_disparity} count.")
        for name, value in scores.items():
            self.log(f"val/{name}", value.float().to(self.device), prog_bar=name == "epe", sync_dist=True)


def plain_insertion(insert: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    """Place -> list of attentions, in plain values and without patterns. Raises: UserError, see `resolve`."""
    found = resolve(as_insertion(insert), list(FeatureExtractor.places))
    return {place: list(texts) for place, texts in found.items()}
