"""Every engine gives what plain PyTorch gives, says what it is, and is refused where it cannot be had."""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines import (
    Engine,
    best_backend,
    create_engine,
    engine_classes,
    list_backends,
    parse_backend,
    reference_for,
    usual_backends,
)
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from rtseg.speed.parity import measure_parity
from rtseg.speed.rivals import create_rival
from tests.helpers.engines import CPU
from tests.helpers.networks import SHAPE

NAMES = [f"{backend}:{precision}" for backend in list_backends() for precision in parse_backend(backend)[0].precisions]


SLOW = [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("compile") else []) for name in NAMES]


Build = Callable[[str], Engine]


def pictures(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    batch, *size = shape
    drawn = torch.from_numpy(texture((size[0], size[1])))
    return torch.stack([drawn.roll(11 * i, 1) for i in range(batch)])


@pytest.fixture(scope="module")
def build(shared_segmenter: Segmenter, logits_graph: Graph, class_map_graph: Graph) -> Build:
    """Runtimes by name, each built once; the test is skipped where one cannot be had."""
    graphs = {"logits": logits_graph, "class_map": class_map_graph}
    built: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        kind, precision = parse_backend(name)
        try:
            kind.check(precision, CPU)
        except UserError as error:
            pytest.skip(str(error))
        if name not in built:
            source = graphs[kind.output] if "onnx" in kind.formats and kind.takes == "graph" else shared_segmenter
            calibration = torch.cat([pictures(), pictures().flip(1)])
            built[name] = create_engine(name, source, SHAPE, calibration=calibration)
        return built[name]

    return get


def test_names() -> None:
    assert list_backends() == [
        "compile", "cudagraph", "eager", "mnn", "mnn-small-tiles", "onnxruntime", "onnxruntime-plain",
        "onnxruntime-webgpu", "openvino", "reference", "tensorrt", "torch-export",
    ]  # fmt: skip
    assert [kind.backend for kind in engine_classes()] == [
        "reference", "eager", "compile", "cudagraph", "onnxruntime", "onnxruntime-plain", "onnxruntime-webgpu",
        "openvino", "mnn", "mnn-small-tiles", "tensorrt", "torch-export",
    ]  # fmt: skip
    assert parse_backend("eager") == parse_backend("eager:fp32") == parse_backend("eager:")


@pytest.mark.parametrize("name", SLOW)
def test_every_engine_gives_the_class_map_of_the_reference(build: Build, name: str) -> None:
    runtime, reference = build(name), build("reference")
    batches = [pictures(), pictures().flip(2)]
    expected = reference(batches[0])
    assert len(expected.unique()) > 1
    assert runtime(batches[0]).shape == SHAPE
    assert not runtime(batches[0]).is_floating_point()
    assert runtime.name == name
    found = measure_parity(runtime, reference, batches, trained=False, least_percent=None)
    assert found.passed, found
    assert found.equal_percent >= (99.9 if runtime.precision == "fp32" else 90)  # its classes lie close together
    if runtime.has_logits and runtime.precision != "fp32":
        assert found.logits_error is not None
        assert found.logits_error > 1e-4  # it is not float32 that has run


@torch.inference_mode()
def test_the_reference_is_what_others_run(shared_segmenter: Segmenter, build: Build) -> None:
    image = (pictures().permute(0, 3, 1, 2) / 255 - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor(
        [0.2, 0.25, 0.3]
    )[:, None, None]
    logits = deploy(shared_segmenter, memory_format=torch.contiguous_format, fold=False).segmenter.logits(image)
    torch.testing.assert_close(build("reference").logits(build("reference").prepare(pictures())), logits)
    expected = F.interpolate(logits, size=SHAPE[1:], mode="bilinear", align_corners=False).argmax(1)
    assert (build("reference")(pictures()) == expected).float().mean() > 0.999


@pytest.mark.parametrize("name", SLOW)
@torch.inference_mode()
def test_stages_in_a_row_are_the_run(build: Build, name: str) -> None:
    runtime = build(name)
    stages = runtime.stages(pictures())
    expected = {
        "reference": ["normalize", "network", "upsample", "argmax"],
        "onnxruntime": ["normalize + network", "class map"],
        "torch-export": ["normalize + network", "class map"],
        "onnxruntime-webgpu": ["normalize + network", "class map"],
        "openvino": ["normalize + network", "class map"],
        "mnn": ["normalize + network", "class map"],
        "mnn-small-tiles": ["normalize + network", "class map"],
        "onnxruntime-plain": ["normalize + network + upsample + argmax"],
    }
    assert list(stages) == expected.get(runtime.backend, ["normalize", "network", "class map"])
    results = {stage: step().clone() for stage, step in stages.items()}
    assert torch.equal(results[list(stages)[-1]], runtime.run(pictures()))
    for stage in ("network", "normalize + network"):
        if stage in results:
            assert torch.equal(results[stage], runtime.logits(runtime.prepare(pictures())))
            assert torch.equal(runtime.classes(results[stage], SHAPE[1:]), runtime.run(pictures()))
    for _ in range(2):  # a stage may be run again and again, in any order
        for stage in reversed(stages):
            assert torch.equal(stages[stage](), results[stage])


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_name_versions_precision_and_threads(build: Build, name: str) -> None:
    if name.startswith("compile"):
        pytest.skip("as eager's")
    found = build(name).description
    backend, _, precision = name.partition(":")
    assert json.loads(json.dumps(found)) == found
    assert (found["backend"], found["precision"]) == (backend, precision)
    assert found["threads"] == torch.get_num_threads()
    assert isinstance(found["instruction_sets"], list)
    of_torch = {"eager": "torch", "reference": "torch", "torch-export": "torch"}
    library = {**of_torch, "mnn": "MNN", "mnn-small-tiles": "MNN"}.get(backend, backend.split("-")[0])
    version = getattr(sys.modules[library], "__version__", None) or importlib.metadata.version(library)
    assert found[library].startswith(version.split("-")[0])
    if backend == "openvino":
        assert found["float_part"] == {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}.get(
            precision, build("openvino:int8").description["float_part"]
        )
        assert ("nncf" in found) == (precision == "int8")
    if library == "torch" and backend != "torch-export":
        assert found["batchnorm"] == ("as trained" if backend == "reference" else "folded, but for 24")
        assert found["memory_format"] == ("contiguous_format" if backend == "reference" else "channels_last")


def test_engines_take_pytorchs_threads(shared_segmenter: Segmenter, logits_graph: Graph) -> None:
    pytest.importorskip("openvino")
    own = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        runtimes = [create_engine(name, logits_graph, SHAPE) for name in ("onnxruntime", "openvino")]
    finally:
        torch.set_num_threads(own)
    assert [runtime.description["threads"] for runtime in runtimes] == [2, 2]
    assert runtimes[0]._session.get_session_options().intra_op_num_threads == 2  # type: ignore[attr-defined]
    assert runtimes[1]._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 2  # type: ignore[attr-defined]


def test_rows_that_do_not_follow_each_other_in_memory(build: Build) -> None:
    """A part of a larger picture, not copied."""
    view = torch.randint(0, 256, (1, 70, 100, 3), dtype=torch.uint8)[:, 5:69, 3:99]
    assert not view.is_contiguous()
    for name in ("reference", "eager", "onnxruntime", "onnxruntime-plain", "openvino", "mnn"):
        assert torch.equal(build(name)(view), build(name)(view.contiguous())), name


@pytest.mark.slow
def test_every_size_is_compiled_for_itself(shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile keeps eight versions of a function and runs all others uncompiled, without a word."""
    compiled: list[tuple[int, ...]] = []
    compile_with = torch.compile

    def count(graph: Any, inputs: list[Tensor]) -> Any:
        compiled.append(next(tuple(x.shape) for x in inputs if isinstance(x, Tensor) and x.shape[1:2] == (3,)))
        return graph.forward

    monkeypatch.setattr(
        torch, "compile", lambda f, *, dynamic, options: compile_with(f, dynamic=dynamic, backend=count)
    )
    shapes = [(1, 32, 8 * k) for k in range(2, 12)]
    for shape in shapes:
        create_engine("compile", shared_segmenter, shape)(pictures(shape))
    assert [(batch, height, width) for batch, _, height, width in compiled] == shapes


def test_the_network_is_copied(segmenter: Segmenter) -> None:
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    runtime = create_engine("eager:bf16", segmenter, SHAPE)
    expected = runtime(pictures()).clone()
    assert segmenter.training
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter.zero_()
    assert torch.equal(runtime(pictures()), expected)


def test_a_graph_is_made_of_a_network_where_one_is_needed(
    shared_segmenter: Segmenter, class_map_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def exported(*arguments: Any) -> Graph:
        asked.append(arguments)
        return class_map_graph

    monkeypatch.setattr("rtseg.deploy.engines.export", exported)
    create_engine("onnxruntime-plain", shared_segmenter, SHAPE)
    assert asked == [(shared_segmenter, SHAPE, "class_map", "onnx")]


def test_calls_of_the_class_map_alone(build: Build) -> None:
    """The engine's own logits, upsampled by `class_map`."""
    runtime = build("onnxruntime")
    logits = runtime.logits(runtime.prepare(pictures()))
    assert logits.shape == (1, 5, 8, 12)
    assert torch.equal(runtime(pictures()), class_map(logits, SHAPE[1:]))
    with pytest.raises(UserError, match="class maps only"):
        build("onnxruntime-plain").logits(pictures())


def test_the_best_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_backend(torch.device("cuda")) == "cudagraph:fp16"
    assert best_backend(torch.device("mps")) is None
    monkeypatch.setitem(sys.modules, "MNN", None)
    assert best_backend(CPU) in ("openvino", "openvino:bf16")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert best_backend(CPU) == "onnxruntime"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert best_backend(CPU) is None


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", "reference eager onnxruntime onnxruntime-plain openvino openvino:bf16 mnn mnn-small-tiles"),
        ("cuda", "reference eager eager:fp16 compile:fp16 cudagraph cudagraph:fp16 onnxruntime tensorrt:fp16"),
        ("mps", "reference eager"),
    ],
)
def test_what_is_measured_unasked(monkeypatch: pytest.MonkeyPatch, device: str, expected: str) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_webgpu", None)  # it is measured where it is installed
    assert usual_backends(torch.device(device)) == expected.split()


def test_graphs_are_compared_with_an_engine_that_is_here(logits_graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the usual reference is not installed; where none is, that one is named."""
    pytest.importorskip("openvino")
    pytest.importorskip("MNN")
    found = []
    for library in ("onnxruntime", "openvino", "MNN"):
        monkeypatch.setitem(sys.modules, library, None)
        found.append(reference_for(logits_graph))
    assert found == ["openvino", "mnn-small-tiles", "onnxruntime"]  # MNN's convolutions round more coarsely


def test_graphs_are_compared_with_an_engine_that_reads_them(
    shared_segmenter: Segmenter, logits_graph: Graph, class_map_graph: Graph
) -> None:
    assert [reference_for(network) for network in (shared_segmenter, logits_graph, class_map_graph)] == [
        "reference", "onnxruntime", "onnxruntime"
    ]  # fmt: skip


# --- bad input


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openvinno", r"unknown engine 'openvinno'\. Did you mean 'openvino'\?"),
        ("", "unknown engine ''"),
        ("eager:int4", "engine 'eager' has no precision 'int4': choose fp32, bf16, fp16"),
        ("onnxruntime:bf16", "'onnxruntime' has no precision 'bf16': choose fp32"),
        ("reference:fp16", "choose fp32"),
        ("openvino:fp32:x", "no precision 'fp32:x'"),
    ],
)
def test_unknown_names_are_refused(shared_segmenter: Segmenter, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_engine(name, shared_segmenter, SHAPE)


@pytest.mark.parametrize("name", ["reference", "eager", "onnxruntime", "onnxruntime-plain", "openvino", "mnn"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 64, 97, 3, dtype=torch.uint8), "built for 1x64x96 .*not 1x64x97: build one"),
        (torch.zeros(2, 64, 96, 3, dtype=torch.uint8), "not 2x64x96"),
        (torch.zeros(64, 96, 3, dtype=torch.uint8), "built for 1x64x96"),
        (torch.zeros(1, 64, 96, 3), r"uint8 RGB images .* not torch\.float32"),
        (torch.zeros(1, 3, 64, 96, dtype=torch.uint8), "uint8 RGB images"),
        (torch.zeros(1, 64, 96, 4, dtype=torch.uint8), "uint8 RGB images"),
        (torch.zeros(0, 64, 96, 3, dtype=torch.uint8), "uint8 RGB images"),
    ],
)
def test_other_pictures_are_refused(build: Build, name: str, bad: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name)(bad)


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("openvino", "cuda", "engine 'openvino' runs on cpu, not on cuda: leave it out"),
        ("openvino:bf16", "mps", "runs on cpu, not on mps"),
        ("cudagraph", "cpu", "engine 'cudagraph' runs on cuda, not on cpu"),
        ("compile", "mps", "runs on cpu or cuda, not on mps"),
        ("onnxruntime", "mps", "runs on cpu or cuda"),
        ("tensorrt", "cpu", "engine 'tensorrt' runs on cuda, not on cpu"),
    ],
)
def test_devices_that_an_engine_does_not_know_are_refused(name: str, device: str, message: str) -> None:
    kind, precision = parse_backend(name)
    with pytest.raises(UserError, match=message):
        kind.check(precision, torch.device(device))


def test_a_device_that_is_not_there_is_refused(shared_segmenter: Segmenter) -> None:
    with pytest.raises(UserError, match="sees"):
        create_engine("eager", shared_segmenter, SHAPE, device="cuda:99")
    with pytest.raises(UserError, match="runs on cuda, not on cpu"):
        create_engine("cudagraph", shared_segmenter, SHAPE)


def test_int8_without_pictures_is_refused(logits_graph: Graph) -> None:
    for library in ("openvino", "nncf"):
        pytest.importorskip(library)
    with pytest.raises(UserError, match="int8 takes its ranges from images: give some with --image"):
        create_engine("openvino:int8", logits_graph, SHAPE)


def test_graphs_that_do_not_fit_are_refused(logits_graph: Graph) -> None:
    pytest.importorskip("onnxruntime")
    for backend in ("reference", "eager", "compile"):
        with pytest.raises(UserError, match=f"'{backend}' runs PyTorch networks, not the exported graph"):
            create_engine(backend, logits_graph, SHAPE)
    with pytest.raises(UserError, match=r"takes 1x64x96 images \(batch x height x width\), not 1x64x64"):
        create_engine("onnxruntime", logits_graph, (1, 64, 64))
    with pytest.raises(UserError, match="not 2x64x96"):
        create_engine("onnxruntime", logits_graph, (2, 64, 96))
    with pytest.raises(UserError, match="puts out logits, and class_map is needed"):
        create_engine("onnxruntime-plain", logits_graph, SHAPE)


@pytest.mark.parametrize("name", ["reference", "eager", "onnxruntime"])
def test_sizes_that_a_network_does_not_take_are_refused(name: str) -> None:
    pytest.importorskip("torchvision")
    rival = create_rival("lraspp_mobilenet_v3_large", 3)
    shape = (1, 16, 64)
    with pytest.raises(UserError, match="height=16 must be at least 32"):
        create_engine(name, rival, shape)(pictures(shape))


# --- on a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "name",
    [
        "eager", "eager:bf16", "eager:fp16", "cudagraph", "cudagraph:bf16", "cudagraph:fp16", "onnxruntime",
        "onnxruntime-plain", pytest.param("compile:fp16", marks=pytest.mark.slow),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("tensorrt", "tensorrt:fp16")),
    ],
)  # fmt: skip
def test_on_cuda(shared_segmenter: Segmenter, build: Build, name: str) -> None:
    kind, precision = parse_backend(name)
    device = torch.device("cuda")
    try:
        kind.check(precision, device)
    except UserError as error:
        pytest.skip(str(error))
    runtime = create_engine(name, shared_segmenter, SHAPE, device=device)
    reference = create_engine("reference", shared_segmenter, SHAPE, device=device)
    batches = [pictures().to(device), pictures().flip(2).to(device)]
    found = measure_parity(runtime, reference, batches, trained=False, least_percent=None)
    assert found.passed, found
    assert found.equal_percent >= 99
    first, other = (runtime(batch).clone() for batch in batches)
    assert not torch.equal(first, other)
    assert torch.equal(runtime(batches[0]), first)  # a recorded graph reads the new picture
    assert (first.cpu() == build("reference")(pictures())).double().mean() > 0.99
