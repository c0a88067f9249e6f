"""What `--help` of `fit`, `validate` and `test` shows: the settings that most people need, one line each.

It imports nothing heavy. `--help-all` shows every key, from the parser. A test compares names and defaults with it.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

_WIDTH = 28  # of the column of flags


class Setting(NamedTuple):
    """A line of the help.

    Attributes:
        key: as it is typed, without dashes.
        text: what it means.
        default: None is not shown.
    """

    key: str
    text: str
    default: Any = None


CONFIG = Setting("config", "a YAML file, or a name of `rtseg list configs`")
SCORED_NEEDS = "--ckpt_path FILE"
SCORED = Setting("ckpt_path", "checkpoint to score")
DEVICES = (
    Setting("trainer.devices", "how many GPUs, or processes on a CPU", "auto"),
    Setting("trainer.accelerator", "cpu, gpu or mps", "auto"),
)
RUN = (
    Setting("auto", "choose precision and processes for this machine"),
    Setting("output", "folder of the run (default: runs/<config>)"),
    Setting("ckpt_path", "resume a training from its last.ckpt"),
    Setting("save_every", "time or steps between two last.ckpt", "10min"),
    Setting("seed_everything", "seed of weights, order and augmentation", 0),
)
LENGTH = (
    Setting("trainer.max_epochs", "length of the training in epochs"),
    Setting("trainer.max_steps", "length in optimizer steps; -1: in epochs", -1),
    Setting("trainer.precision", "bf16-mixed is fast where there is bfloat16"),
)
MODEL = (
    Setting("model.name", "see `rtseg list models`", "rtformer_slim"),
    Setting("model.attention", "such as gfa+ca, see `rtseg list attentions`"),
    Setting("model.options", "of the network, such as '{cross_size: 12}'"),
)
DATA = (
    Setting("data.dataset", "see `rtseg list datasets`; for your own: folder"),
    Setting("data.root", "folder of the data; for your own a YAML file"),
)
WORKERS = Setting("data.num_workers", "loader processes of each device", 2)
_FIT = (
    CONFIG, *RUN, *MODEL,
    Setting("model.insert", "attention at places: '{stage3: fa}'"),
    Setting("model.weights", "start from a .ckpt, folder, name or hub id"),
    Setting("model.ema_decay", "moving average of the weights; 0: none", 0.0),
    Setting("model.optim.lr", "learning rate for lr_batch_size images", 0.0004),
    Setting("model.loss.class_weights", "a factor for each class; auto: from the masks"),
    *DATA,
    Setting("data.batch_size", "images of a step, over all devices; or auto", 12),
    Setting("data.crop_size", "height and width of crops; or auto", [512, 1024]),
    WORKERS, *LENGTH, *DEVICES,
    Setting("fps.input_size", "image size of the timing, height and width"),
)  # fmt: skip
_SCORE = (
    CONFIG, SCORED,
    Setting("protocol", "such as ade20k, ms-flip, slide:1024x1024:768x768"),
    Setting("boundary", "boundary IoU; 0.02 of the diagonal in its paper"),
    Setting("scores", "or -o: .json file for all scores"),
    Setting("picture", ".png file for the confusion matrix"),
    Setting("model.weights", "folder or Hugging Face id to score instead"),
    *DATA,
    Setting("data.eval_resize", "short and long side for ADE20K; or auto"),
    Setting("data.upsampling", "of logits; twice: as PaddleSeg", "once"),
    WORKERS, *DEVICES,
)  # fmt: skip
SETTINGS = {"fit": _FIT, "validate": _SCORE, "test": _SCORE}


class Page(NamedTuple):
    """The help of a command.

    Attributes:
        command: as it is typed.
        does: what it does, a sentence or two.
        examples: flags that may follow it.
        needs: flags that it cannot do without.
    """

    command: str
    does: str
    settings: Sequence[Setting]
    examples: Sequence[str]
    needs: str = "--config NAME"

    def __str__(self) -> str:
        """For 80 columns."""
        return "\n".join(
            [
                f"Usage: {self.command} {self.needs} [--KEY VALUE ...]",
                "",
                f"  {self.does}",
                "",
                *(f"  --{key:{_WIDTH}}{text}{_shown(default)}" for key, text, default in self.settings),
                f"  --{'help-all':{_WIDTH}}every key of model, data and trainer",
                "",
                "Examples:",
                *(f"  {self.command} {example}" for example in self.examples),
            ]
        )


_SCORES = ("--ckpt_path runs/a/best.ckpt", "--ckpt_path runs/a/best.ckpt --data.root ~/camvid")
PAGES = {
    "fit": Page(
        "rtseg fit",
        "Train a network. A configuration gives the settings, flags change them.",
        SETTINGS["fit"],
        ("--config rtformer_slim_demo --auto", "--config rtformer_slim_camvid --data.root ~/camvid --auto"),
    ),
    "validate": Page(
        "rtseg validate",
        "Score a checkpoint, which brings its settings, on the validation images.",
        _SCORE,
        _SCORES,
        SCORED_NEEDS,
    ),
    "test": Page(
        "rtseg test",
        "Score a checkpoint, which brings its settings, on the test images.",
        _SCORE,
        _SCORES,
        SCORED_NEEDS,
    ),
}


def _shown(default: Any) -> str:
    if default is None:
        return ""
    return f" ({default if isinstance(default, str) else json.dumps(default, separators=(',', ':'))})"
