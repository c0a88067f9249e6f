"""What is wrong with an insertion is said before the data are looked at, which may take minutes."""

from typing import Any

import pytest
from jsonargparse import Namespace

from rtseg.errors import UserError
from rtseg.tasks.instances.cli import InstancesCLI
from rtseg.tasks.stereo.cli import StereoCLI
from rtseg.training.cli import RTSegCLI
from rtseg.training.run_cli import RunCLI

MODELS: dict[type[RunCLI], dict[str, Any]] = {
    RTSegCLI: {"name": "timm:resnet18", "attention": None, "head": None, "options": None},
    InstancesCLI: {"name": "mask_rcnn_resnet18", "options": {"channels": 16}},
    StereoCLI: {},
}


@pytest.mark.parametrize("cli", MODELS, ids=lambda cli: cli.program)
@pytest.mark.parametrize(
    ("insert", "said"),
    [
        ({"layer9": "fa"}, "unknown place 'layer9'. Did you mean 'layer"),
        ({"layer3": "ca"}, "attention 'ca' reads a second map"),
        ({"layer3": ["fa", "af"]}, "unknown attention 'af'. Did you mean '"),
    ],
)
def test_no_data_are_needed_to_refuse_it(cli: type[RunCLI], insert: dict[str, Any], said: str) -> None:
    config = Namespace(model=Namespace(**MODELS[cli], insert=insert, weights=None), ckpt_path=None)
    with pytest.raises(UserError) as error:
        cli.prepare(cli.__new__(cli), config, "fit")
    assert said in str(error.value)


@pytest.mark.parametrize("cli", [RTSegCLI, InstancesCLI], ids=lambda cli: cli.program)
def test_what_does_not_divide_neither(cli: type[RunCLI]) -> None:
    config = Namespace(model=Namespace(**MODELS[cli], insert={"layer*": "fa:heads=7"}, weights=None), ckpt_path=None)
    with pytest.raises(UserError, match=r"layer1=fa:heads=7 .*does not divide"):
        cli.prepare(cli.__new__(cli), config, "fit")
