"""One process makes what several want of the cache; the others wait for it, but not for ever.

Locks belong to an open file, so threads stand for processes here.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.deploy.cache import alone
from rtseg.deploy.explain import Choice
from rtseg.deploy.graph import Graph
from rtseg.deploy.open_graph import open_graph
from rtseg.deploy.runner import Runner
from rtseg.models.segmenter import Segmenter

IMAGES = torch.zeros(1, 32, 48, 3, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("RTSEG_ENGINE")
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def started(work: Callable[[], Any], number: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def wait_for(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What was said until then."""
    said, until = "", time.monotonic() + 60
    while line not in said:
        assert time.monotonic() < until, said
        time.sleep(0.02)
        said += capsys.readouterr().err
    return said


def test_one_process_at_a_time_measures(
    shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr("rtseg.deploy.choice.LEAST_SECONDS", 0.01)
    monkeypatch.setattr("rtseg.deploy.choice.exact_engines", lambda *_: ["eager", "reference"])
    chosen: list[Choice] = []
    with alone("engines/measuring", ""):
        threads = started(lambda: chosen.append(Runner(shared_segmenter).choice(IMAGES)), 2)
        said = wait_for("waiting for another process, which measures engines\n", capsys)
        assert "measuring which" not in said
    for thread in threads:
        thread.join(60)
    assert len({one.date for one in chosen}) == 1
    assert capsys.readouterr().err.count("measuring which engine is the fastest") == 1
    assert [file.suffix for file in folder.rglob("*") if file.is_file()] == [".json"]


def test_one_process_at_a_time_exports(
    shared_segmenter: Segmenter,
    logits_graph: Graph,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exported, go_on = [], threading.Event()

    def export(*arguments: Any) -> Graph:
        exported.append(arguments)
        assert go_on.wait(60)
        return logits_graph

    monkeypatch.setattr("rtseg.deploy.open_graph.export", export)
    found: list[Graph] = []
    threads = started(lambda: found.append(open_graph(shared_segmenter)), 2)
    wait_for("waiting for another process, which exports this network\n", capsys)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(exported) == 1
    assert [graph.model for graph in found] == [logits_graph.model] * 2


@pytest.mark.parametrize("place", ["busy", "is a file"])
def test_it_is_done_all_the_same(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.deploy.cache.PATIENCE", 0.1)
    done = []
    if place == "is a file":
        folder.write_text("")
    with alone("engines/measuring", "holds it"), alone("engines/measuring", "waits"):
        done.append(place)
    assert done == [place]
    with pytest.raises(ValueError, match="passed on"), alone("engines/measuring", "fails"):
        raise ValueError("passed on")
