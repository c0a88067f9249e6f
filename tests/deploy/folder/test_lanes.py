"""Images side by side: how many lanes, engines of their own, one choice, and the class maps of the predictor."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rtseg.data.files import read_mask
from rtseg.deploy.device import torch_threads
from rtseg.deploy.folder import lanes as of_lanes
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.lanes import lanes
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


def test_one_for_each_core_and_eight_images(segmenter: Segmenter) -> None:
    predictor = Predictor(segmenter, engine="eager", device="cpu")
    assert [len(lanes(predictor, images)) for images in (0, 1, 15, 16, 999)] == [1, 1, 1, 2, 2]
    with torch_threads(7):
        assert len(lanes(predictor, 999)) == 4
    with torch_threads(1):
        assert len(lanes(predictor, 999)) == 1
    predictor.runner.shape = (1, 1024, 1025)  # of a file
    assert len(lanes(predictor, 999)) == 1
    predictor.runner.shape = (1, 1024, 1024)
    assert len(lanes(predictor, 999)) == 2
    predictor.runner._engine = "compile"  # built for one size
    assert len(lanes(predictor, 999)) == 1


def test_small_images_have_engines_of_their_own_and_a_large_one_has_all_threads(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_lanes, "SMALL", 40 * 60)
    predictor = Predictor(segmenter, engine="eager", device="cpu")
    used: list[tuple[int, int]] = []

    def use(one: Predictor, image: np.ndarray) -> np.ndarray:
        used.append((id(one.runner), torch.get_num_threads()))
        with torch_threads(1):  # two would wait long for each other beside other tests
            return one(image)

    small, large = texture((40, 60)), texture((41, 60))
    first, second = lanes(predictor, 99)
    maps = [lane.predict(use, image) for lane in (first, second) for image in (small, large)]
    assert np.array_equal(maps[0], maps[2])
    assert np.array_equal(maps[1], maps[3])
    assert [threads for _, threads in used] == [1, 2, 1, 2]
    (a, whole, b, also_whole) = (runner for runner, _ in used)
    assert whole == also_whole == id(predictor.runner)
    assert len({a, b, whole}) == 3
    assert torch.get_num_threads() == 2
    assert [choice.engine for choice in predictor.runner.choices()] == ["eager"], "the whole chooses for all"
    again = lanes(predictor, 99)
    again[1].predict(use, small)
    assert used[-1] == (b, 1), "its engine is kept"


def test_the_files_are_those_of_one_image_after_the_other(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.card = replace(segmenter.card, ids=())
    predictor = Predictor(segmenter, engine="eager", device="cpu")
    images = [np.roll(texture((24, 32)), k, 1) for k in range(20)]
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{k:02d}.png")
    out = tmp_path / "out"
    assert predict_files(predictor, sorted(tmp_path.glob("*.png")), out, outputs=Outputs(overlays=False)) == {}
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 2, "threads of later are as before"
    with torch_threads(1):
        for k, image in enumerate(images):
            assert np.array_equal(read_mask(out / f"{k:02d}.png"), predictor(image))
