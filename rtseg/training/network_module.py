"""What trainings of any network have in common.

A moving average, a checkpoint that describes itself and is gone on with only where that is the same training, random
numbers by position.
"""

from typing import Any, Generic, Protocol, TypeVar, cast

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import SyncBatchNorm

from rtseg.checks import check_below
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.models.model_card import ModelCard
from rtseg.training.sampling import sample_seed


class Optim(Protocol):
    """Settings of an optimizer: a frozen dataclass, `model.optim` of the command line."""

    @property
    def lr(self) -> float: ...

    @property
    def lr_batch_size(self) -> int | None: ...

    def batch_scale(self, batch_size: int | None) -> float: ...


Network = TypeVar("Network", bound=nn.Module)


class NetworkModule(L.LightningModule, Generic[Network]):
    """Base of the modules that train one network.

    A subclass keeps the network in an attribute, whose name is the prefix of its entries in checkpoints, and answers
    with it as `network`.

    Args:
        network, card: what is trained, and its description.
        ema_decay: of the moving average of the weights, which is then what is evaluated and used; 0 for none.
        channels_last: keep feature maps channels-last.
        batch_size: global, of one batch of the loader.
        seed: of random numbers that are drawn in a step.
    """

    resumed_settings: tuple[str, ...] = ("optim",)  # groups that a resumed training must find as they were
    ema: ModelEmaV3 | None

    def __init__(
        self, network: Network, card: ModelCard, optim: Optim, *, ema_decay: float, channels_last: bool,
        batch_size: int | None, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        check_below("model.ema_decay", ema_decay, 0, 1, "0 is for none, 0.999 usual")
        self.optim, self.batch_size, self.seed = optim, batch_size, seed
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        network.to(memory_format=self.memory_format)
        self.normalize = Normalize(card.mean, card.std)
        self.ema = None
        if ema_decay:
            # PaddleSeg's warm-up of the decay: 1 - 1 / (step + 1).
            self.ema = ModelEmaV3(network, decay=ema_decay, use_warmup=True, warmup_power=1.0)
            self.ema.requires_grad_(False)

    @property
    def network(self) -> Network:
        """What is trained."""
        raise NotImplementedError

    @property
    def card(self) -> ModelCard:
        """Of the network."""
        raise NotImplementedError

    @property
    def evaluated(self) -> Network:
        """What is scored and used: the moving average where there is one."""
        return cast(Network, self.ema.module) if self.ema is not None else self.network

    @property
    def step_size(self) -> int | None:
        """Samples behind one step of the optimizer."""
        return self.batch_size and self.batch_size * self.trainer.accumulate_grad_batches

    def setup(self, stage: str) -> None:
        batch_size = self.step_size
        if stage == "fit" and batch_size and (scale := self.optim.batch_scale(batch_size)) != 1:
            rank_zero_info(
                f"Learning rate {self.optim.lr * scale:.2e}: {self.optim.lr:.2e} is for a batch of "
                f"{self.optim.lr_batch_size}, this one is {batch_size}."
            )

    def on_train_start(self) -> None:
        synchronised = any(isinstance(module, SyncBatchNorm) for module in self.network.modules())
        if self.trainer.world_size > 1 and not synchronised:
            rank_zero_info(
                f"BatchNorm sees one process's images at a time, 1/{self.trainer.world_size} of a batch: the result "
                "depends on the number of processes. PyTorch synchronises it on CUDA only (trainer.sync_batchnorm)."
            )

    def total_steps(self) -> int:
        """Optimizer steps of the whole training, for the learning-rate schedule.

        Raises:
            UserError: the training has no end.
        """
        if self.trainer.max_steps == -1 and (self.trainer.max_epochs or -1) == -1:
            raise UserError("the learning-rate schedule needs an end: set trainer.max_steps or trainer.max_epochs")
        return int(self.trainer.estimated_stepping_batches)

    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) grey levels -> normalised, in the network's memory format."""
        return self.normalize(image).contiguous(memory_format=self.memory_format)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # The step that loggers write; Lightning's own count drifts by one with every resume.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def batch_seed(self) -> int:
        """Of what is drawn in this step, drop path for one: from (seed, batch, process), so that a resumed training
        needs no saved random state.
        """
        return sample_seed(self.seed, self.trainer.fit_loop.total_batch_idx, self.global_rank)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, step=self.global_step + 2)  # 0-based in this hook; timm takes 1 off

    def on_validation_epoch_start(self) -> None:
        self.evaluated.eval()

    def on_test_epoch_start(self) -> None:
        self.evaluated.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The checkpoint describes itself.

        The card, and the moving average under its own key, both readable without Lightning.
        """
        checkpoint["model_card"] = self.card.to_dict()
        state = checkpoint["state_dict"]
        average = {key: state.pop(key) for key in list(state) if key.startswith("ema.")}
        if average:
            checkpoint["ema_state_dict"] = {key.removeprefix("ema.module."): value for key, value in average.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        theirs, ours = checkpoint.get("model_card", {}).get("num_classes"), self.card.num_classes
        if theirs != ours:
            raise UserError(
                f"the checkpoint has {theirs} classes, the data set {ours}: give the data set that it was trained on, "
                "or start a new training"
            )
        average = checkpoint.get("ema_state_dict", {})
        if bool(average) != (self.ema is not None):
            kind, setting = ("with", "above 0, as it was,") if average else ("without", "to 0")
            raise UserError(
                f"the checkpoint was trained {kind} a moving average of its weights: set model.ema_decay {setting} "
                "or start a new training"
            )
        if self._trainer is not None and self._trainer.state.fn == "fit":
            self.check_resumed(checkpoint)
        checkpoint["state_dict"] |= {f"ema.module.{key}": value for key, value in average.items()}

    def check_resumed(self, checkpoint: dict[str, Any]) -> None:
        """Holds the settings of a training that goes on against those that it was begun with. The optimizer's state
        brings its old rates, so that new settings would be half obeyed.

        Raises:
            UserError: they differ.
        """
        saved, ours = checkpoint["hyper_parameters"], self.hparams
        settings = [("ema_decay", saved["ema_decay"], ours["ema_decay"])]
        for group in self.resumed_settings:
            settings += [(f"{group}.{key}", saved[group][key], value) for key, value in ours[group].items()]
        for name, theirs, value in settings:
            if theirs != value:
                raise UserError(
                    f"model.{name}={value} differs from the checkpoint's {theirs}; a resumed training keeps its "
                    "settings: give the same, or start a new training"
                )
