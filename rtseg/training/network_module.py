"""What trainings of any network have in common.

A moving average, a checkpoint that describes itself and is resumed only by the same training, and random numbers that
are functions of the position.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar, cast

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import SyncBatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rtseg.checks import check_at_least, check_below
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.models.model_card import ModelCard
from rtseg.models.state_check import check_state
from rtseg.training.batch_rate import BatchRate
from rtseg.training.between_steps import end_step
from rtseg.training.nonfinite import Part, StepGuard
from rtseg.training.resumable_data import ResumableData
from rtseg.training.sampling import sample_seed
from rtseg.training.settings import SECOND_ROUND, TRAINER, changes, check_length, check_same, flat

# What an older checkpoint says of its data: setting -> the card's word for it.
_OF_CARD = {"eval_resize": "eval_resize", "upsampling": "upsampling", "classes": "class_names", "ids": "ids"}
Network = TypeVar("Network", bound=nn.Module)


class NetworkModule(L.LightningModule, Generic[Network]):
    """Base of the modules that train one network.

    A subclass keeps the network in an attribute, whose name is the prefix of its entries in checkpoints, and answers
    with it as `network`.

    Args:
        network, card: what is trained, and its description.
        ema_decay: decay of the moving average of the weights, which is then evaluated and used; 0 for none.
        channels_last: keep feature maps channels-last.
        batch_size: size of one global batch of the loader.
        seed: seed of the random numbers that are drawn in a step.
        nonfinite: what happens to a step whose loss, gradient or update is not finite, see `StepGuard`.
    """

    part: ClassVar[str]  # that is trained, as its card calls it
    replay_command: ClassVar[str]  # of a step that was not finite
    batch_type: ClassVar[Any]  # a NamedTuple with `image`
    classes_called: ClassVar[str] = "classes"  # what the card's `num_classes` counts
    # Arguments that a resumed training may change; those that make the network are compared as networks.
    free_settings: tuple[str, ...] = (
        "compile", "channels_last", "weights", "batch_size", "name", "num_classes", "attention", "head", "insert",
        "options", "nonfinite", "in_channels",
    )  # fmt: skip
    trainer_settings: tuple[str, ...] = TRAINER
    may_be_lengthened = True  # whether a training that has ended may be given more steps
    ema: ModelEmaV3 | None

    def __init__(
        self, network: Network, card: ModelCard, optim: BatchRate, *, ema_decay: float, channels_last: bool,
        batch_size: int | None, seed: int, nonfinite: str,
    ) -> None:  # fmt: skip
        super().__init__()
        check_below("model.ema_decay", ema_decay, 0, 1, "0 is for none, 0.999 usual")
        self.optim, self.batch_size, self.seed = optim, batch_size, seed
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        network.to(memory_format=self.memory_format)
        self.normalize = Normalize(card.mean, card.std)
        self._resumed: dict[str, Any] | None = None  # what the checkpoint says, where a training is resumed
        self._total_steps: int | None = None
        self.guard = StepGuard(self, nonfinite)
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
        """The card of the network."""
        raise NotImplementedError

    @property
    def evaluated(self) -> Network:
        """What is scored and used: the moving average where there is one."""
        return cast(Network, self.ema.module) if self.ema is not None else self.network

    @property
    def step_size(self) -> int | None:
        """Samples behind one step of the optimizer."""
        return self.batch_size and self.batch_size * self.trainer.accumulate_grad_batches

    def losses(self, batch: Any, seed: int) -> Mapping[str, Tensor]:
        """Each term of the loss of a batch, by name; their sum is what the training lowers.

        Args:
            seed: seed of all that is drawn at random.
        """
        raise NotImplementedError

    def create_optimizer(self, total_steps: int) -> tuple[Optimizer, LambdaLR]:
        """The optimizer and its schedule, which steps with it."""
        raise NotImplementedError

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, schedule = self.create_optimizer(self.total_steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def full_precision(self) -> torch.autocast:
        """The context of an evaluation: a score must not depend on the precision of the command that asks for it."""
        return torch.autocast(self.device.type, enabled=False)

    def names_of(self, batch: Any) -> list[str]:
        """The file names of the images of a batch, if known."""
        names = getattr(batch, "name", ())
        return [names] if isinstance(names, str) else list(names)

    def check_scored(self, not_finite: int) -> None:
        """Outside a training. Raises: UserError where so many images had logits that are not finite."""
        if not_finite and self.trainer.state.fn != "fit":
            raise UserError(
                f"no score: the logits of {not_finite} of the images are not finite, so that what they predict means "
                "nothing. Give another checkpoint; best.ckpt is written from finite scores alone"
            )

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer.gradient_clip_val is not None:
            check_at_least("trainer.gradient_clip_val", self.trainer.gradient_clip_val, 0, "null is for none, 1 usual")
        batch_size = self.step_size
        if stage == "fit" and batch_size and (scale := self.optim.batch_scale(batch_size)) != 1:
            rank_zero_info(
                f"Learning rate {self.optim.lr * scale:.2e}: {self.optim.lr:.2e} is for a batch of "
                f"{self.optim.lr_batch_size}, this one is {batch_size}."
            )

    def settings(self) -> dict[str, Any]:
        """The settings that a resumed training must keep, by flag."""
        found = flat("model", self.hparams, self.free_settings)
        if isinstance(data := getattr(self.trainer, "datamodule", None), ResumableData):
            found |= data.settings()
        trainer = {key: getattr(self.trainer, key) for key in self.trainer_settings}
        return found | flat("trainer", trainer, ())

    def on_train_start(self) -> None:
        self._check_whole_steps()
        self.guard.start()
        if self._resumed is not None and self._resumed["total_steps"] not in (None, self._total_steps):
            self._say_longer(self._resumed["total_steps"])
        synchronised = any(isinstance(module, SyncBatchNorm) for module in self.network.modules())
        if self.trainer.world_size > 1 and not synchronised:
            rank_zero_info(
                f"BatchNorm sees one process's images at a time, 1/{self.trainer.world_size} of a batch: the result "
                "depends on the number of processes."
            )

    def total_steps(self) -> int:
        """Optimizer steps of the whole training, for the learning-rate schedule.

        Raises:
            UserError: the training has no end, or is resumed with another length.
        """
        if self.trainer.max_steps == -1 and (self.trainer.max_epochs or -1) == -1:
            raise UserError("the learning-rate schedule needs an end: set trainer.max_steps or trainer.max_epochs")
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        if self._resumed is not None:
            begun, reached = self._resumed["total_steps"], self._resumed["global_step"]
            epochs = self.trainer.max_epochs if self.trainer.max_steps == -1 else None
            check_length(begun, reached, self._total_steps, longer=self.may_be_lengthened, epochs=epochs)
        return self._total_steps

    def prepare(self, image: Tensor) -> Tensor:
        """(B, C, H, W) grey levels -> normalised, in the network's memory format."""
        return self.normalize(image).contiguous(memory_format=self.memory_format)

    def _check_whole_steps(self) -> None:
        """Raises: UserError where an epoch ends inside an accumulated step: Lightning would scale it as a whole one."""
        batches, parts = self.trainer.num_training_batches, self.trainer.accumulate_grad_batches
        if batches != float("inf") and batches % parts and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise UserError(
                f"an epoch of {batches} batches ends inside a step of trainer.accumulate_grad_batches={parts}: give "
                f"trainer.limit_train_batches={int(batches // parts * parts) or parts}, or another number to accumulate"
            )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # The step that loggers write; Lightning's own count drifts by one with every resume.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.guard.begin()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        seed = self.batch_seed()
        terms = self.losses(batch, seed)
        values = list(terms.values())
        loss = sum(values[1:], values[0])
        logged = torch.stack([loss, *values]).detach()
        if self.trainer.world_size > 1:  # a logger would write what the first process saw
            logged = cast(Tensor, self.trainer.strategy.reduce(logged, reduce_op="mean"))
        self.log("train/loss", logged[0], prog_bar=True, batch_size=len(batch.image))
        if len(terms) > 1:
            by_name = {f"train/loss_{name}": value for name, value in zip(terms, logged[1:], strict=True)}
            self.log_dict(by_name, batch_size=len(batch.image))
        self.guard.lost(Part(batch, seed, {name: value.detach() for name, value in terms.items()}))
        return loss

    def on_after_backward(self) -> None:
        self.guard.backward(last=not self.trainer.fit_loop._should_accumulate())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.guard.mode == "skip":
            self.log("train/skipped", float(self.guard.skipped))
        end_step(self.trainer)

    def batch_seed(self) -> int:
        """The seed of what is drawn in this step, such as drop path: from (seed, batch, process), so that a resumed
        training needs no saved random state.
        """
        return sample_seed(self.seed, self.trainer.fit_loop.total_batch_idx, self.global_rank)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.guard.end() and self.ema is not None:
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
        if self._total_steps is not None:
            checkpoint |= {"settings": self.settings(), "total_steps": self._total_steps}
            checkpoint["world_size"] = self.trainer.world_size
        if self.guard.skipped:
            checkpoint["skipped_steps"] = [self.guard.skipped, self.guard.in_a_row]
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
        their_channels, channels = checkpoint.get("model_card", {}).get("channels"), self.card.channels
        if their_channels != channels:
            kinds = [f"images of {n} channels" if n else "RGB images of 8 bits" for n in (their_channels, channels)]
            raise UserError(
                f"the checkpoint is for {kinds[0]}, the data set has {kinds[1]}: set data.channels="
                f"{their_channels or 'null'}, or start a new training"
            )
        training = self._trainer is not None and self._trainer.state.fn == "fit"
        if training:
            if "nonfinite" in checkpoint:
                raise UserError(
                    "this checkpoint holds a step that was not finite, to be looked at with "
                    f"`{self.replay_command}`: resume from last.ckpt, or start a new training"
                )
            self.check_resumed(checkpoint)
            self.guard.skipped, self.guard.in_a_row = checkpoint.get("skipped_steps", (0, 0))
        average = checkpoint.get("ema_state_dict", {})
        if bool(average) != (self.ema is not None):
            kind, setting = ("with", "above 0, as it was,") if average else ("without", "to 0")
            raise UserError(
                f"the checkpoint was trained {kind} a moving average of its weights: set model.ema_decay {setting} or "
                + ("start a new training" if training else "leave it out, since the checkpoint says it")
            )
        if self._trainer is not None and not training:
            self._say_scored_otherwise(checkpoint)
        checkpoint["state_dict"] |= {f"ema.module.{key}": value for key, value in average.items()}
        check_state(self.state_dict(), checkpoint["state_dict"], "the checkpoint")

    def check_resumed(self, checkpoint: dict[str, Any]) -> None:
        """Compares the settings of a resumed training with those that it began with.

        The optimizer's state brings its old rates, so new settings would be half obeyed. The length is compared once
        the data are there.

        Raises:
            UserError: some differ.
        """
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # five steps to see that everything fits
            return
        older = flat("model", checkpoint["hyper_parameters"], self.free_settings)
        check_same(checkpoint.get("settings", older), self.settings())
        self._resumed = {"total_steps": checkpoint.get("total_steps"), "global_step": checkpoint["global_step"]}

    def _say_scored_otherwise(self, checkpoint: dict[str, Any]) -> None:
        """Says what is scored otherwise than in the training: the checkpoint's own settings are the default."""
        card = checkpoint["model_card"]
        older = {f"data.{key}": card.get(name) for key, name in _OF_CARD.items()}
        theirs = checkpoint.get("settings", older)
        data = getattr(self.trainer, "datamodule", None)
        for change in changes(theirs, data.scoring() if isinstance(data, ResumableData) else {}):
            rank_zero_info(f"Caution: {change}; the score belongs to what was asked for.")

    def _say_longer(self, begun: int) -> None:
        """Says how the learning rate jumps where a training that had ended is given more steps."""
        schedule = cast(LambdaLR, self.trainer.lr_scheduler_configs[0].scheduler)
        old, step = schedule.get_last_lr()[0], schedule.last_epoch
        new = schedule.base_lrs[0] * schedule.lr_lambdas[0](step)
        rank_zero_info(
            f"Caution: this training had ended after {begun} steps, now it is {self._total_steps}, and its "
            f"learning rate jumps from {old:.2e} to {new:.2e}: not the training that so many steps at once would be. "
            f"{SECOND_ROUND}."
        )
