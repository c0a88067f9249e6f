"""Fixtures of every test: tiny data and networks; real data and golden vectors, where they lie beside the checkout."""

import os
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rtseg.data.origin import write_origin
from rtseg.deploy.exports.build import export
from rtseg.deploy.graph import OPEN, Graph, OpenShape, Output, written
from rtseg.models.segmenter import Segmenter
from rtseg.output.lock import locked_target
from rtseg.speed.cost import Ceilings, measure_ceilings
from tests.helpers.networks import SHAPE, tiny_segmenter

torch.set_num_threads(1)  # the tests run in two processes; more threads than cores are slower than one

SHARED = Path(os.environ.get("RTSEG_SHARED", Path(__file__).parents[2] / ".." / "shared")).resolve()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Also after a test that sets more: see above."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept between commands goes to a folder of the tests."""
    os.environ["RTSEG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _looks_at_the_machine_once() -> Iterator[None]:
    """What the machine reaches, and what else runs on it, takes seconds to measure: not in each benchmark."""

    @cache
    def once(device: torch.device, dtype: torch.dtype, threads: int) -> Ceilings:
        return measure_ceilings(device, dtype, seconds=0.05)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rtseg.deploy.device.other_work", dict)
        patch.setattr(
            "rtseg.speed.bench.measure_ceilings", lambda device, dtype: once(device, dtype, torch.get_num_threads())
        )
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and golden vectors; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data: RTSEG_SHARED={SHARED} is not a folder")
    return SHARED


@pytest.fixture(scope="session")
def tiny_camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training and three validation images of 40x56 in CamVid's layout; the class follows the brightness."""
    root = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for split, number in (("train", 10), ("val", 3), ("test", 2)):
        (root / split).mkdir()
        (root / f"{split}annot").mkdir()
        for k in range(number):
            mask = cv2.resize(rng.integers(0, 12, (2, 3), dtype=np.uint8), (56, 40), interpolation=cv2.INTER_NEAREST)
            image = np.repeat((mask * 20)[..., None], 3, -1) + rng.integers(0, 8, (40, 56, 3), dtype=np.uint8)
            cv2.imwrite(str(root / split / f"{k:03d}.png"), image)
            cv2.imwrite(str(root / f"{split}annot" / f"{k:03d}.png"), mask)
    write_origin(root, "patches of a test")
    return root


@pytest.fixture
def segmenter() -> Segmenter:
    """See `tiny_segmenter`; the test's own."""
    return tiny_segmenter()


@pytest.fixture(scope="session")
def shared_segmenter() -> Segmenter:
    """The same network, that no test may change; the graphs are its own."""
    return tiny_segmenter().requires_grad_(False)


@pytest.fixture(scope="session")
def exported_once(shared_segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Graph]:
    """The network's graph of a shape and an output. It takes seconds, so xdist's workers export each once for all."""

    def graph(shape: OpenShape, output: Output = "logits") -> Graph:
        pytest.importorskip("onnxscript")
        if "PYTEST_XDIST_WORKER" not in os.environ:
            return export(shared_segmenter, shape, output)
        file = tmp_path_factory.getbasetemp().parent / f"{output}_{written(shape)}.pickle"
        with locked_target(file, patience=600):
            if not file.exists():
                file.write_bytes(pickle.dumps(export(shared_segmenter, shape, output)))
        return pickle.loads(file.read_bytes())

    return graph


@pytest.fixture(scope="session")
def logits_graph(exported_once: Callable[..., Graph]) -> Graph:
    return exported_once(SHAPE)


@pytest.fixture(scope="session")
def open_graph(exported_once: Callable[..., Graph]) -> Graph:
    """For images of any size, and any number."""
    return exported_once(OPEN)


@pytest.fixture(scope="session")
def class_map_graph(exported_once: Callable[..., Graph]) -> Graph:
    return exported_once(SHAPE, "class_map")
