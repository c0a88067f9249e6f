"""Drawn scenes say that they are drawn, from their folder to the model card."""

import json
from pathlib import Path

import pytest

from rtseg.data import create_dataset
from rtseg.data.origin import DATA_CARD, read_origin, write_origin
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import describe
from rtseg.scenes import make_data

DRAWN = "generated scenes, drawn by rtseg make-data"


@pytest.mark.parametrize("layout", ["camvid", "ade20k", "cityscapes"])
def test_a_data_set_says_that_it_is_drawn(layout: str, tmp_path: Path) -> None:
    root = make_data(layout, 1, tmp_path / "drawn", n_val=1, size=(64, 64))
    for split in ("train", "val"):
        assert create_dataset(layout, root, split).origin == DRAWN
    card = json.loads((root / DATA_CARD).read_text())
    assert card == {"origin": DRAWN, "layout": layout, "n": 1, "n_val": 1, "size": [64, 64], "seed": 0}
    (root / DATA_CARD).unlink()
    assert create_dataset(layout, root, "val").origin is None


def test_the_nearest_card_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write_origin(tmp_path, "the whole drive")
    assert read_origin(inner / "1.png") == "the whole drive"
    write_origin(inner, "my own drone, Мюнхен")
    assert read_origin(inner / "1.png") == "my own drone, Мюнхен"


@pytest.mark.parametrize("card", ["{}", "[]", "{", '{"origin": 3}', '{"origin": ""}', '{"origin": "a\\nb"}'])
def test_a_card_that_says_nothing_is_named(card: str, tmp_path: Path) -> None:
    (tmp_path / DATA_CARD).write_text(card)
    with pytest.raises(UserError, match=DATA_CARD):
        read_origin(tmp_path / "1.png")


def test_a_published_folder_says_so_too(tmp_path: Path) -> None:
    network = create_model("rtformer_slim", 3, base_channels=8, spp_channels=16, head_channels=8, cross_size=3)
    for origin, words in ((DRAWN, f"Data set: camvid. Images: {DRAWN}.\n"), (None, "Data set: camvid.\n")):
        describe(network, dataset="camvid", data_origin=origin)
        network.save_pretrained(tmp_path / str(origin))
        assert words in (tmp_path / str(origin) / "README.md").read_text()
