"""A training as a command: LightningCLI with a run folder that is never overwritten and errors that say what to do.

What it trains, the subclasses say.
"""

import logging
import os
import re
import sys
import warnings
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins import CheckpointIO

from rtseg.configs import with_found_configs
from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.output.folders import make_folder
from rtseg.output.lock import locked_folder
from rtseg.registry import trained_with
from rtseg.terminal import say
from rtseg.training.automatic import Machine, choose
from rtseg.training.callbacks.decoration import Decoration, HarmlessLog
from rtseg.training.callbacks.failed_validation import SaveFailedValidation
from rtseg.training.callbacks.periodic_checkpoint import PeriodicCheckpoint
from rtseg.training.callbacks.progress import Progress
from rtseg.training.callbacks.stop import StopGracefully
from rtseg.training.callbacks.throughput import ThroughputMonitor
from rtseg.training.callbacks.time_left import TimeLeft
from rtseg.training.checkpoint import AtomicCheckpointIO, BestCheckpoint, read_header, recorded_settings
from rtseg.training.failures import check_trainer, in_a_sentence
from rtseg.training.flag_errors import explain, settings
from rtseg.training.loggers import ResumableCSVLogger, RunTensorBoardLogger
from rtseg.training.network_module import NetworkModule
from rtseg.training.run_folder import check_output, remove_torn, set_log_aside
from rtseg.training.typed import values
from rtseg.yaml_file import check_yaml

# Lightning's warnings that are wrong or void here, and would hide a true one.
_VOID_WARNINGS = (
    "Checkpoint directory .* exists and is not empty",  # check_output has decided on that
    "Found .* in eval mode",  # the moving average, which is not trained
    "Precision .* is not supported by the model summary",
    ".*isinstance.treespec, LeafSpec.* is deprecated",
    ".*could not find the monitored key",  # a training that ends before its first validation has no best checkpoint
    ".*does not have many workers which may be a bottleneck",  # speed/data_wait in the log says whether it is one
    "The number of training batches .* is smaller than the logging interval",  # which counts over epochs
)
# How Lightning's messages begin that say nothing here, or what `Progress` says in a line of its own.
_VOID_MESSAGES = (
    "`weights_only` was not set",
    "💡 Tip: ",
    "Seed set to",
    "GPU available: ",
    "TPU available: ",
    "Using bfloat16 Automatic Mixed Precision",
    "Initializing distributed: ",
    "-----",  # a frame around "distributed_backend=gloo"
    "Loading `train_dataloader` to estimate",
    "Restoring states from",  # "Restored all states" follows
    "`Trainer.fit` stopped: ",
    "`Trainer(val_check_interval=1)` was configured",
    "Received SIGTERM",  # `StopGracefully` says what comes of it
    "Bypassing SIGTERM",
)
_RANK = re.compile(r"^\[rank: \d+\] ")
SCORING = ("validate", "test")  # the commands that train nothing
_VOID_WHERE_NOTHING_IS_TRAINED = ("The dirpath has changed", ".*callbacks used to create the checkpoint need to be")


class Parser(LightningArgumentParser):
    """Says what to type where a setting is unknown or wrong, and keeps the long usage text out of the way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # `--trainer.max_step` would be taken for `max_steps`
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        program = self.prog.partition(" [")[0]
        command = sys.argv[1] if sys.argv[1:] and sys.argv[1] in SCORING else "fit"
        raise UserError(f"{explain(message, settings(self))} (all keys: {program} {command} --help-all)") from ex


class LearningRates(Decoration, LearningRateMonitor):
    """The rate of every group of parameters, in the log."""


class CSVLog(HarmlessLog, ResumableCSVLogger):
    """`metrics.csv`."""


class TensorBoardLog(HarmlessLog, RunTensorBoardLogger):
    """`events.out.*`."""


class RunCLI(LightningCLI):
    """Adds to LightningCLI: `--output`, the run's folder; a default set of callbacks and loggers.

    Attributes:
        program: as it is typed, for messages.
        configs: folder of the configurations that `--config` finds by name.
        monitor: the score whose best value makes `best.ckpt`.
        monitor_mode: "max" where a higher score is better, else "min".
        has_classes: whether the data say how many classes the model has.
        words: of the command line, between `program`'s first word and the command.
    """

    program: ClassVar[str]
    configs: ClassVar[Path]
    monitor: ClassVar[str]
    monitor_mode: ClassVar[str] = "max"
    has_classes: ClassVar[bool] = True
    words: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with ExitStack() as self._held:  # the lock of the run folder: all of the command happens inside
            super().__init__(*args, **kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The one that is asked for: the parser of each takes a third of a second."""
        known = LightningCLI.subcommands()
        return {command: known[command] for command in sys.argv[1:2] if command in known} or known

    def default_run(self, config: Namespace) -> str:
        """Name of the run's folder where no config file names it."""
        raise NotImplementedError

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        """Compares `config.model` with what the checkpoint says of itself. Raises: UserError where they differ."""
        raise NotImplementedError

    def prepare(self, config: Namespace, command: str | None) -> None:
        """Last changes to the configuration, which config.yaml then shows."""

    def recorded(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """What a score depends on, as the checkpoint was trained, by flag. Of `read_header`'s."""
        return recorded_settings(checkpoint)

    def fits(self, config: Namespace, processes: int) -> bool:
        """Whether a training batch, and the validation images, divide among so many processes."""
        raise NotImplementedError

    def more_callbacks(self, config: Namespace) -> list[Callback]:
        """Callbacks of a training, beside those that all have."""
        return []

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--output",
            type=str | None,
            default=None,
            help="folder of the run: logs, checkpoints, pictures (default: runs/<name of the first config>)",
        )
        parser.add_argument(
            "--auto",
            action="store_true",
            help="fit only: choose precision and number of processes for this machine, and print each with its reason; "
            "what is given, and what a resumed checkpoint had, stays",
        )
        parser.add_argument(
            "--save_every",
            type=int | str,
            default="10min",
            help="from one last.ckpt to the next, between validations too: a time (90s, 10min, 2h) or optimizer steps",
        )
        # BatchNorm over one device's few images would make results depend on the number of devices.
        parser.set_defaults({"trainer.sync_batchnorm": torch.cuda.is_available()})
        parser.link_arguments("data.batch_size", "model.batch_size", compute_fn=_known_number)
        if self.has_classes:
            parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Where a checkpoint is scored, what it says of itself is the default, and no flag has to repeat it."""
        command, *words = sys.argv[1:] or [""]
        given = values("--ckpt_path", words)
        if command in SCORING and given and (checkpoint := read_header(given[-1])):
            scored, recorded = self._subcommand_parsers[command], self.recorded(checkpoint)
            known = settings(scored)
            scored.set_defaults({key: value for key, value in recorded.items() if key in known})
        try:
            super().parse_arguments(parser, args)
        except UnicodeDecodeError as error:
            raise UserError(f"a configuration is not UTF-8 text ({error}); save it as UTF-8") from None

    def _parse_ckpt_path(self) -> None:
        """Lightning would silently replace the asked model by the checkpoint's; `check_model` refuses instead."""

    def before_instantiate_classes(self) -> None:
        sys.argv[1:1] = self.words  # what Lightning starts again for further processes
        command = self.config.get("subcommand")
        config: Namespace = self.config[command] if command else self.config
        checkpoint = read_header(config.get("ckpt_path"), resumes=command == "fit")
        self._plugins = ModelCard.from_dict(checkpoint["model_card"]).plugins if checkpoint else ()
        with trained_with(self._plugins):
            self.prepare(config, command)
            if command == "fit" and config.auto:
                machine = Machine.here(config.trainer.accelerator)
                lines = choose(config.trainer, machine, partial(self.fits, config), checkpoint)
                if is_first_process():
                    say("\n".join(lines))
            check_trainer(config.trainer)
            if checkpoint is not None:
                self.check_model(config.model, checkpoint)
                config.weights_only = True
        if command in SCORING:
            config.verbose = False  # `run` prints a table of its own
            self.save_config_callback = None
        if config.trainer.accelerator == "cpu":
            config.trainer.sync_batchnorm = False  # PyTorch has none for CPU tensors
        if command == "fit":
            files = [file for file in config.get("config") or [] if file is not None]  # None: settings in its place
            name = Path(str(files[0])).stem if files else self.default_run(config)
            output = Path(config.output or Path("runs") / name)
            if not config.trainer.fast_dev_run:
                if is_first_process():
                    self._held.enter_context(locked_folder(output))
                self._held.enter_context(refusals_told(output))
                check_output(output, config.get("ckpt_path"), checkpoint)
                make_folder(output)
                if is_first_process():
                    self._held.push(lambda kind, *_: set_log_aside(output) if kind else None)
                if checkpoint is not None and is_first_process():
                    remove_torn(output)
            config.output = str(output)
            config.trainer.default_root_dir = str(output)
        self._command, self._resumed_step = command, checkpoint["global_step"] if checkpoint else None

    def instantiate_classes(self) -> None:
        with trained_with(self._plugins):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        config = self.config[self._command] if self._command else self.config
        trainer = self._get(self.config_init, "trainer")
        callbacks, plugins = _listed(trainer.callbacks), _listed(trainer.plugins)
        if config.trainer.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks += [time_left := TimeLeft(), Progress(self.monitor, time_left)]
        if config.trainer.enable_model_summary is None:
            kwargs["enable_model_summary"] = False  # `Progress` says what is trained, in a line
        if self._command == "fit" and not config.trainer.fast_dev_run:
            output = config.output
            if config.trainer.logger in (None, True):
                csv = CSVLog(output, resumed_step=self._resumed_step)
                kwargs["logger"] = [csv, TensorBoardLog(output, name="", version="")]
            callbacks += [
                StopGracefully(output),
                PeriodicCheckpoint(Path(output) / "last.ckpt", config.save_every),
                SaveFailedValidation(output),
                ThroughputMonitor(),
                *self.more_callbacks(config),
                # The best first, so that the last knows its score. ModelCheckpoint's own save_last writes only where
                # there is a new best.
                BestCheckpoint(output, self.monitor, self.monitor_mode),
                ModelCheckpoint(output, filename="last", enable_version_counter=False),
            ]
            if config.trainer.logger is not False:
                callbacks.append(LearningRates("step"))
        elif self._command in SCORING:
            kwargs["logger"] = False
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        trainer = super().instantiate_trainer(**kwargs, callbacks=callbacks)
        _check_started(trainer.world_size)
        return trainer


def run(
    cli: type[RunCLI], module: type[NetworkModule], data: type[LightningDataModule], args: list[str], description: str
) -> RunCLI:
    """Runs `fit`, `validate` or `test` with the rest of the command line."""
    args = with_found_configs(args, cli.configs)
    command = args[0] if args else ""
    for message in _VOID_WARNINGS + _VOID_WHERE_NOTHING_IS_TRAINED * (command in SCORING):
        warnings.filterwarnings("ignore", message)
    for package in ("lightning", "lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(package).handlers:
            handler.addFilter(_says_something)
    torch.set_float32_matmul_precision("high")
    _check_configs()
    sys.argv[1:] = args  # LightningCLI warns when it is given arguments beside those of the command line
    with in_a_sentence():
        return cli(
            module,
            data,
            parser_class=Parser,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False},
            parser_kwargs={"prog": cli.program, "description": description},
            save_config_kwargs={"overwrite": True},  # the run folder was checked; a resumed run writes the same config
        )


def _known_number(value: int | str) -> int | None:
    """None for "auto", which is replaced before anything is built."""
    return value if isinstance(value, int) else None


def _says_something(record: logging.LogRecord) -> bool:
    return not _RANK.sub("", record.getMessage()).startswith(_VOID_MESSAGES)


@cache  # once a process
def _check_configs() -> None:
    """jsonargparse's loader runs no code, but knows no bounds, and of a key that stands twice takes the second."""
    load = get_loader("yaml")

    def checked(text: str, path: str = "") -> Any:
        check_yaml(text, str(path) or "a part of the configuration")
        return load(text)

    set_loader("yaml", checked, (yaml.YAMLError,))


def is_first_process() -> bool:
    """Whether this is not one of the further processes of a training, which run the same command in the same folder."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") in ("", "0") for name in ranks)


def _check_started(processes: int) -> None:
    """Refuses processes of torchrun that would not train together: each would train alone, in one folder."""
    started = os.environ.get("WORLD_SIZE", "1") if "TORCHELASTIC_RUN_ID" in os.environ else "1"
    if int(started) > processes:
        raise UserError(
            f"torchrun started {started} processes, and each would train alone: give --auto, or "
            f"--trainer.strategy=ddp --trainer.devices={os.environ['LOCAL_WORLD_SIZE']}"
        )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
