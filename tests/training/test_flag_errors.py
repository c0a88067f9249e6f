"""A flag of a wrong kind: key, value, what is wanted, and an example to type."""

import sys
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from lightning.pytorch import Trainer

from rtseg.errors import UserError
from rtseg.training.datamodule import SegmentationData
from rtseg.training.flag_errors import kind
from rtseg.training.module import SegmentationModule
from rtseg.training.run_cli import Parser

LIST = "must be a list of 2 whole numbers or auto, as --data.crop_size="
CASES = {
    "--data.crop_size 64 96": f"data.crop_size=64 {LIST}'[64,96]'",
    "--data.crop_size=64,96": f"data.crop_size=64,96 {LIST}'[64,96]'",
    "--data.crop_size=64": f"data.crop_size=64 {LIST}'[512,1024]'",
    "--data.crop_size": "--data.crop_size needs a value: a list of 2 whole numbers or auto, as --data.crop_size=",
    "--data.eval_resize=512": "must be a list of 2 whole numbers or auto or null, as --data.eval_resize='[512,1024]'",
    "--model.loss.class_weights 1,2,3": "null, as --model.loss.class_weights='[1,2,3]'",
    "--model.loss.weights=0.4": "must be names with a number each or null, as --model.loss.weights='{\"name\":0.5}'",
    "--model.optim.lr=1e-3x": "model.optim.lr=1e-3x must be a number, as --model.optim.lr=0.0004",
    "--data.batch_size=1.5": "data.batch_size=1.5 must be a whole number or auto, as --data.batch_size=12",
    "--data.distort=maybe": "must be true or false or null, as --data.distort=true",
    "--trainer.precision=fp8": "bf16-mixed, 32-true",
    "--model.optim=fast": "its keys are given one by one, as --model.optim.lr=0.0004",
    "--model.insert=fa:basis=64": "model.insert=fa:basis=64 must be an attention for each place (`rtseg list places` "
    "prints the places), as --model.insert.PLACE=fa:basis=64",
    "--model.insert=fpn.*=fa:heads=1": "as '--model.insert.fpn.*=fa:heads=1'",
    "--model.insert": "as --model.insert.PLACE=fa",
    "--model.lr=3": "unknown key 'model.lr'. Did you mean 'model.optim.lr'?",
    "--trainer.max_step 64": "unknown key 'trainer.max_step'. Did you mean 'trainer.max_steps'?",
    "--data.batch=2": "unknown key 'data.batch'. Did you mean 'data.batch_size'?",
    "--resume": "unknown key 'resume'; to resume a training: --ckpt_path RUN/last.ckpt",
    "--resume runs/a": "to resume a training: --ckpt_path RUN/last.ckpt",
    "stray": "'stray' belongs to no flag",
    "my.yaml": "a configuration is a flag: give it as --config my.yaml",
}


@pytest.fixture(scope="module")
def parser() -> Parser:
    """Of the settings of a training."""
    parser = Parser(prog="rtseg [options]")
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(SegmentationModule, "model")
    parser.add_lightning_class_args(SegmentationData, "data")
    return parser


@pytest.mark.parametrize(("flags", "says"), CASES.items())
def test_a_flag_of_a_wrong_kind(flags: str, says: str, parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data.dataset=camvid", "--data.root=nowhere", *flags.split()]
    monkeypatch.setattr(sys, "argv", ["rtseg", "fit", *words])
    with pytest.raises(UserError) as error:
        parser.parse_args(words)
    assert says in str(error.value)
    assert "class '" not in str(error.value)


def test_what_must_be_given(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rtseg", "validate"])
    says = r"--data.dataset and --data.root must be given, or .* \(all keys: rtseg validate --help-all\)"
    with pytest.raises(UserError, match=says):
        parser.error("the following arguments are required: validate.data.dataset, validate.data.root")
    with pytest.raises(UserError, match=r"^--config: there is no file '/a/no.yaml' \("):
        parser.error("Parser key \"config\": File does not exist: '/a/no.yaml'")


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        (tuple[float, ...], "a list of numbers"),
        (Sequence[str] | None, "a list of texts or null"),
        (dict[str, Any], "names with a value each"),
        (Literal["a", "b"], "one of a, b"),
        (float | Literal["auto"], "a number or auto"),
        (Any, "a text"),
    ],
)
def test_kinds_in_plain_words(hint: Any, says: str) -> None:
    assert kind(hint) == says
