"""The size of an export where nobody gave one, and what its first lines say."""

from dataclasses import replace
from pathlib import Path

import pytest

from rtseg.cli import main
from rtseg.deploy.exports.input_size import shape_for
from rtseg.deploy.exports.read import read_graph
from rtseg.deploy.graph import OPEN
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter
from tests.helpers.command import exit_status


def test_the_cards_size_or_the_usual_one(capsys: pytest.CaptureFixture[str]) -> None:
    card = ModelCard("x", "none", 2)
    assert (shape_for(OPEN, card), shape_for((1, 3, 4), card), capsys.readouterr().out) == (OPEN, (1, 3, 4), "")
    assert shape_for(2, card) == (2, 512, 512)
    assert (
        "512x512 (height x width), since its card has no size of the training; --input-size" in capsys.readouterr().out
    )
    assert shape_for(2, replace(card, input_size=(40, 56))) == (2, 40, 56)
    assert "40x56 (height x width), the size that the network was trained at; --input-" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "kind"), [pytest.param("mnn", "int32", marks=pytest.mark.slow), ("pt2", "int64")])
def test_the_command(
    ending: str, kind: str, segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the type of this file's class numbers alone."""
    pytest.importorskip("MNN" if ending == "mnn" else "torch")
    segmenter.card = replace(segmenter.card, input_size=(64, 96))
    segmenter.save_pretrained(tmp_path / "net")
    file = tmp_path / f"net.{ending}"
    assert exit_status(main, "export", str(tmp_path / "net"), "-o", str(file), "--result", "class_map_margin") == 0
    printed = capsys.readouterr().out
    assert "Images of 64x96 (height x width), the size that" in printed
    assert f"Out: {kind} class numbers, and float32 margins. " in printed
    assert read_graph(file).shape == (1, 64, 96)
