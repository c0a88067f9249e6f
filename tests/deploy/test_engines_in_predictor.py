"""The predictor takes the fastest engine that equals plain PyTorch, remembers it, and keeps no engine for each size."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from rtseg.deploy.choice import conditions_of, exact_engines, measure, remembered, without_measuring
from rtseg.deploy.engines import create_engine, parse_backend
from rtseg.deploy.engines.base import Engine
from rtseg.deploy.explain import show_choices
from rtseg.deploy.graph import OPEN, Graph
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from tests.helpers.engines import CPU
from tests.helpers.networks import SHAPE

IMAGE = texture((45, 60))
IMAGES = torch.from_numpy(IMAGE)[None]


@pytest.fixture(autouse=True)
def exports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_graph: Graph) -> list[Any]:
    """What is exported: one graph each time. "auto" is what it is for users, with a cache of the test's own."""
    monkeypatch.delenv("RTSEG_ENGINE")
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rtseg.deploy.choice.LEAST_SECONDS", 0.01)
    exported: list[Any] = []

    def one(*arguments: Any) -> Graph:
        exported.append(arguments)
        return open_graph

    monkeypatch.setattr("rtseg.deploy.open_graph.export", one)
    return exported


@pytest.fixture
def two_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not depend on which engines there are: building all of them takes a second."""
    monkeypatch.setattr("rtseg.deploy.choice.exact_engines", lambda *_: ["eager", "onnxruntime"])


def build(segmenter: Segmenter, graph: Graph) -> Callable[[str], Engine]:
    def made(name: str) -> Engine:
        return create_engine(name, graph if parse_backend(name)[0].takes == "graph" else segmenter, OPEN)

    return made


# --- what is chosen


def test_it_is_measured_once_and_remembered(
    shared_segmenter: Segmenter, exports: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = Predictor(shared_segmenter, device="cpu")
    classes = first(IMAGE)
    chosen = first.explain(IMAGE)
    assert chosen.file is not None
    assert {one.engine for one in chosen.measured} == set(exact_engines(shared_segmenter, CPU))
    assert chosen.engine == chosen.measured[0].engine
    times = [one.ms for one in chosen.measured if one.ms is not None]  # one pixel of these 2700 is too many for some
    assert times == sorted(times)
    assert len(times) > 1
    printed = capsys.readouterr()
    show_choices([chosen])
    assert str(chosen) == capsys.readouterr().out.rstrip("\n")
    assert f"engine: {chosen.engine}, because it is the fastest" in str(chosen)
    said = printed.err
    assert "measuring which engine is the fastest for 45x60" in said
    assert said.count("exporting the network, once") == 1
    plain = Predictor(shared_segmenter, engine="reference", device="cpu")
    assert (plain(IMAGE) == classes).mean() >= 0.9999
    again = Predictor(shared_segmenter, device="cpu")
    assert (again(IMAGE) == classes).all()
    assert again.explain(IMAGE) == chosen  # the date too
    assert len(exports) == 1  # the graph is kept as well
    assert capsys.readouterr() == ("", "")
    assert first.identity == again.identity == plain.identity


def test_what_is_kept_belongs_to_its_conditions(shared_segmenter: Segmenter, segmenter: Segmenter) -> None:
    def conditions(network: Segmenter, images: Tensor = IMAGES) -> dict[str, Any]:
        return conditions_of(network, Predictor(network, device="cpu").runner.weights, images, CPU)

    ours = conditions(shared_segmenter)
    assert ours == conditions(segmenter)  # equal weights
    assert ours == conditions(shared_segmenter, torch.from_numpy(texture((40, 70)))[None])  # of one size class
    assert ours != conditions(shared_segmenter, torch.from_numpy(texture((90, 60)))[None])
    assert ours != conditions(shared_segmenter, IMAGES.repeat(2, 1, 1, 1))
    torch.set_num_threads(2)
    assert ours != conditions(shared_segmenter)
    torch.set_num_threads(1)
    with torch.no_grad():
        next(segmenter.parameters()).add_(1)
    assert ours != conditions(segmenter)


def test_files_of_equal_weights_have_choices_of_their_own(open_graph: Graph) -> None:
    """One of both may hold weights of 8 bits."""
    others = (open_graph, replace(open_graph, model=open_graph.model + b"0"), replace(open_graph, beside=b"1"))
    found = [json.dumps(conditions_of(graph, "sha256:0", IMAGES, CPU)) for graph in others]
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("two_engines")
def test_nothing_is_kept_of_code_that_may_change(
    segmenter: Segmenter, exports: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Head(type(segmenter.head)):  # type: ignore[misc]
        """As in a notebook: nothing else says that it is not rtseg's."""

    segmenter.head.__class__ = Head
    for _ in range(2):
        chosen = Predictor(segmenter, device="cpu").explain(IMAGE)
        assert (bool(chosen.measured), chosen.file) == (True, None)
    assert len(exports) == 2
    assert not (tmp_path / "cache").exists()


def test_other_code_of_rtseg_is_measured_anew(shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    before = conditions_of(shared_segmenter, "sha256:0", IMAGES, CPU)
    monkeypatch.setattr("rtseg.deploy.code_digest.code_digest", lambda: "other")
    assert conditions_of(shared_segmenter, "sha256:0", IMAGES, CPU) != before


class Wrong(Engine):
    """An engine that names another class."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    create = logits = cast(Any, None)

    def run(self, images: Tensor) -> Tensor:
        return (self._engine.run(images) + 1) % 5


def test_engines_that_differ_or_fail_are_not_taken(shared_segmenter: Segmenter, open_graph: Graph) -> None:
    ours = build(shared_segmenter, open_graph)

    def made(name: str) -> Engine:
        if name == "broken":
            raise RuntimeError("no such instruction\nand a traceback")
        return Wrong(ours("eager")) if name == "wrong" else ours(name)

    conditions = conditions_of(shared_segmenter, "sha256:0", IMAGES, CPU) | {"engines": ["wrong", "broken", "eager"]}
    chosen = measure(shared_segmenter, IMAGES, conditions, made)
    assert chosen.engine == "eager"
    refused = {one.engine: one.refused for one in chosen.measured}
    assert refused == {"eager": None, "wrong": "too many pixels have another class", "broken": "no such instruction"}
    assert remembered(conditions) == chosen
    nothing = measure(shared_segmenter, IMAGES, conditions | {"engines": ["wrong", "broken"]}, made)
    assert (nothing.engine, nothing.file) == ("eager", None)


def test_without_leave_to_measure_it_starts_at_once(
    shared_segmenter: Segmenter, exports: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor(shared_segmenter, device="cpu")
    predictor.runner.may_measure = False
    predictor(IMAGE)
    assert predictor.explain(IMAGE) == without_measuring(shared_segmenter, CPU)
    assert (exports, list(tmp_path.iterdir()), capsys.readouterr().err) == ([], [], "")


@pytest.mark.usefixtures("two_engines")
@pytest.mark.parametrize("change", ["{", {"measured": []}, {"conditions": {}}, {"measured": [["eager:bf16"]]}])
def test_a_damaged_choice_is_measured_again(shared_segmenter: Segmenter, change: Any) -> None:
    file = Predictor(shared_segmenter, device="cpu").explain(IMAGE).file
    assert file is not None
    if isinstance(change, dict):
        if "measured" in change:  # lower precision is never taken from a file
            change = {"measured": [{"engine": name, "ms": 0.1} for (name,) in change["measured"]]}
        change = json.dumps(json.loads(file.read_text()) | change)
    file.write_text(change)
    assert Predictor(shared_segmenter, device="cpu").explain(IMAGE).file == file
    assert json.loads(file.read_text())["measured"]


@pytest.mark.usefixtures("two_engines")
@pytest.mark.parametrize("place", ["file", "x" * 300])
def test_a_cache_that_cannot_be_written_is_no_error(
    shared_segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path / place))
    chosen = Predictor(shared_segmenter, device="cpu").explain(IMAGE)
    assert chosen.measured
    assert chosen.file is None


def test_the_environment_says_what_auto_is(
    shared_segmenter: Segmenter, open_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTSEG_ENGINE", "eager")
    assert Predictor(shared_segmenter, device="cpu").explain(IMAGE).reason == "it was asked for"
    assert Predictor(open_graph).runner.engine == "auto"  # eager PyTorch does not run files
    monkeypatch.setenv("RTSEG_ENGINE", "auto")
    assert Predictor(shared_segmenter, device="cpu").runner.engine == "auto"
    for source in (shared_segmenter, open_graph):
        monkeypatch.setenv("RTSEG_ENGINE", "openvin")
        with pytest.raises(UserError, match="the environment variable RTSEG_ENGINE: unknown engine 'openvin'"):
            Predictor(source, device="cpu")


# --- by name


def test_lower_precision_is_taken_by_name_and_recorded(shared_segmenter: Segmenter) -> None:
    exact, low = (Predictor(shared_segmenter, engine=name, device="cpu") for name in ("eager", "eager:bf16"))
    assert low(IMAGE).shape == IMAGE.shape[:2]
    assert low.identity == f"{exact.identity}, eager:bf16"


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("openvin", "unknown engine 'openvin'.*Did you mean 'openvino'"),
        ("Auto", r"unknown engine 'Auto'\. Did you mean 'auto'\? Known: auto, compile"),
        (cast(str, None), "engine None is not a name: give 'auto', or one of `rtseg list backends`"),
        ("eager:int4", "engine 'eager' has no precision 'int4': choose fp32"),
        ("cudagraph", "engine 'cudagraph' runs on cuda, not on cpu"),
        ("openvino:int8", "takes its ranges from images: `rtseg export --int8 --data DIR`"),
    ],
)
def test_engines_that_cannot_be_had_are_refused(shared_segmenter: Segmenter, engine: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Predictor(shared_segmenter, engine=engine, device="cpu")


def test_a_file_is_not_run_by_what_needs_the_network(open_graph: Graph) -> None:
    with pytest.raises(UserError, match="engine 'eager' does not run the exported graph: choose auto, onnxruntime"):
        Predictor(open_graph, engine="eager")


@pytest.mark.slow  # two exports
@pytest.mark.parametrize("engine", ["onnxruntime-plain", "torch-export"])
def test_engines_that_need_a_graph_of_another_kind(shared_segmenter: Segmenter, engine: str) -> None:
    image = texture((64, 64))
    plain, other = (Predictor(shared_segmenter, engine=name, device="cpu") for name in ("reference", engine))
    assert (plain(image) == other(image)).mean() >= 0.999
    assert (plain.identity == other.identity) == other.runner.has_logits(other.network_input(image)[None])


def test_pytorchs_threads_are_not_woken_beside_an_engine(open_graph: Graph) -> None:
    """They would wait for more work at full speed for milliseconds, on the cores of the next image."""
    predictor = Predictor(open_graph, engine="onnxruntime")
    predictor(IMAGE)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        predictor(IMAGE)
    computing = {"aten::abs", "aten::isfinite", "aten::all", "aten::cat", "aten::copy_", "aten::argmax"}
    assert not computing & {event.name for event in profile.events()}


# --- sizes and batches


@pytest.mark.parametrize("engine", ["eager", "onnxruntime", "openvino", "mnn"])
def test_one_engine_for_all_sizes(shared_segmenter: Segmenter, open_graph: Graph, engine: str) -> None:
    try:
        parse_backend(engine)[0].check("fp32", CPU)
    except UserError as error:
        pytest.skip(str(error))
    predictor = Predictor(shared_segmenter, engine=engine, device="cpu")
    plain = Predictor(shared_segmenter, engine="reference", device="cpu")
    equal = total = 0
    for size in ((45, 60), (33, 97), (1, 1), (64, 64), (7, 130)):
        equal += int((predictor(texture(size)) == plain(texture(size))).sum())
        total += size[0] * size[1]
    assert equal >= 0.999 * total
    assert len(predictor.runner.engines()) == 1


def test_engines_of_one_size_each_are_bounded(shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_backend("eager")[0], "open_sizes", False)
    predictor = Predictor(shared_segmenter, engine="eager", device="cpu")
    for side in range(20, 32):
        predictor(texture((side, side)))
        predictor(texture((20, 20)))
    assert predictor.runner.engines() == [("eager", (1, side, side)) for side in (29, 30, 31, 20)]


@pytest.mark.parametrize("engine", ["eager", "onnxruntime"])
def test_a_batch_is_its_images(shared_segmenter: Segmenter, engine: str) -> None:
    predictor = Predictor(shared_segmenter, engine=engine, device="cpu")
    images = [texture(size) for size in ((45, 60), (33, 97), (45, 60))]
    images[2] = np.ascontiguousarray(images[2][:, ::-1])
    for image, classes in zip(images, predictor.batch(images), strict=True):
        assert (predictor(image) == classes).mean() >= 0.999
    assert predictor.batch([]) == []


def test_a_file_of_a_fixed_batch_takes_any_number(open_graph: Graph) -> None:
    images = [texture(SHAPE[1:])] * 2 + [np.ascontiguousarray(texture(SHAPE[1:])[::-1])]
    one, two = (Predictor(replace(open_graph, shape=(batch, *SHAPE[1:]))) for batch in (1, 2))
    for left, right in zip(one.batch(images), two.batch(images), strict=True):
        assert (left == right).mean() >= 0.999
    assert two.logits(images[2]).shape == (1, 5, 8, 12)
