"""Which engine a server takes, what it does with exported files, and how it ends with a request in work."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.engines import parse_backend
from rtseg.deploy.graph import Graph
from rtseg.deploy.predictor import Predictor, load
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.serve import server
from rtseg.serve.work import load_prepared
from tests.helpers.segmenters import small
from tests.helpers.server import served, until
from tests.serve.test_api import image
from tests.serve.test_queue import Held


def test_networks_of_channels_are_refused(tmp_path: Path) -> None:
    network = small(in_channels=4)
    network.card = replace(network.card, channels=4)
    network.save_pretrained(tmp_path / "net")
    with pytest.raises(UserError, match="images of 4 channels"):
        load_prepared(str(tmp_path / "net"), device="cpu")


def test_a_request_in_work_is_answered_before_the_end(
    shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for patience in (5, 0.2):
        monkeypatch.setattr(server, "LAST", patience)
        predictor = Held(shared_segmenter)
        predictor.go.set()
        with ThreadPoolExecutor(1) as pool, served(predictor) as client:
            predictor.go.clear()
            answer = pool.submit(client.segment, image())
            until(lambda client=client: client.running.server.work.inside == 1)  # type: ignore[misc]
            client.running.http.should_exit = True
            if patience == 5:
                until(lambda client=client: not client.running.http.servers[0].is_serving())  # type: ignore[misc]
                predictor.go.set()
            answers.append(answer.result())
            predictor.go.set()
    assert [answer.status for answer in answers] == [200, 503]
    assert "the server ends" in answers[1].error


@pytest.mark.slow
def test_auto_is_measured_once_for_all_sizes(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    monkeypatch.delenv("RTSEG_ENGINE")
    predictor = load_prepared(str(tmp_path / "net"), device="cpu")
    engine = predictor.runner.engine
    assert parse_backend(engine)[0].open_sizes
    with served(predictor) as client:
        assert client.ask("GET", "/health").json["engine"] == engine
        for size in ((40, 56), (300, 500)):
            assert client.segment(image(size=size)).status == 200
        assert client.ask("GET", "/health").json["engine"] == engine
    assert load(tmp_path / "net", device="cpu").explain(image_of(40, 48)).engine == engine, "it is remembered"


def image_of(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.slow
def test_exported_files(
    exported_once: Callable[..., Graph], class_map_graph: Graph, logits_graph: Graph, tmp_path: Path
) -> None:
    """A file of one size, to which images are resized; without margins where it has none for the image."""
    margins = exported_once((1, 64, 96), "class_map_margin")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(tmp_path / "image.png")
    data = (tmp_path / "image.png").read_bytes()
    for graph, has in ((class_map_graph, "0"), (logits_graph, "1"), (margins, "0")):
        predictor = Predictor(graph)
        with served(predictor) as client:
            answer = client.segment(data, "?result=raw")
            assert answer.headers["x-margin"] == has
            assert answer.body[: 50 * 70] == predictor(tmp_path / "image.png").tobytes()
            assert len(answer.body) == 50 * 70 * (3 if has == "1" else 1)
            assert client.segment(image(size=(64, 96)), "?result=raw").headers["x-margin"] == str(
                int(graph is not class_map_graph)
            )
