"""`rtseg list places NETWORK`."""

import pytest

from rtseg.cli import main
from tests.helpers.command import check_refused, exit_status


def test_each_line_is_a_place_with_its_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(main, "list", "places", "test_resnet", "--input-size", "33", "64") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.strip() == "Places of timm:test_resnet for an image of 33x64"
    assert [line.split() for line in lines if "x" in line][-1] == ["fpn.p5", "256", "32", "2x2"]
    assert [line.split() for line in lines if "layer4" in line] == [["layer4", "96", "32", "2x2"]]
    assert exit_status(main, "list", "places", "pidnet_s") == 0
    assert ["stage3_i", "128", "16", "32x32"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("places",), "places of which network? Give its name, as in `rtseg list places timm:resnet50`"),
        (("places", "pidnet_ss"), "unknown model 'pidnet_ss'. Did you mean 'pidnet_s'?"),
        (("places", "psmnets"), "Did you mean 'psmnet'? Known: "),
        (("places", "nosuch"), "mask_rcnn_timm:NAME"),
        (("places", "pidnet_s", "--input-size", "0", "64"), "input_size=0 must be a whole number of at least 1"),
        (("heads", "pidnet_s"), "'pidnet_s' goes with places alone: rtseg list places pidnet_s"),
    ],
)
def test_what_cannot_be_listed(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(exit_status(main, "list", *words), says, capsys)


def test_the_models_end_with_how_others_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(main, "list", "models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "timm:NAME, any network of timm that gives feature maps, as timm:resnet18"
    assert "rtformer_slim" in lines


@pytest.mark.parametrize(
    ("name", "line"), [("mask_rcnn_resnet18", "fpn.p6 256 64 8x8"), ("psmnet", "layer4 128 4 128x128")]
)
def test_networks_of_the_tasks_have_places_too(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(main, "list", "places", name) == 0
    assert line.split() in [row.split() for row in capsys.readouterr().out.splitlines()]
