"""PaddleSeg's files: what is read, what is refused, and that every official network's weights find their place."""

import builtins
import functools
import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model
from rtseg.models.paddle import OFFICIAL_VARIANTS, convert, convert_trunk, holds_trunk
from rtseg.models.paddle_names import to_state_dict
from rtseg.models.pdparams import read_pdparams
from tests.helpers.paddle import ARRAYS, fake_params, shapes, trunk_params, write

OFFICIAL = [(model, dataset) for model, dataset in OFFICIAL_VARIANTS]


@pytest.fixture
def cityscapes_file(golden: Path, tmp_path: Path) -> Path:
    return write(tmp_path / "model.pdparams", fake_params(golden, "rtformer_slim_cityscapes"))


# --- what is read


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_are_read_in_every_protocol_that_paddle_writes(protocol: int, tmp_path: Path) -> None:
    names = {"a.weight": "linear_0.w_0"}
    path = write(tmp_path / "m.pdparams", {**ARRAYS, "StructuredToParameterName@@": names}, protocol)
    params = read_pdparams(path)
    assert params.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(params[key], array)
        assert params[key].dtype == np.float32
        assert params[key].flags.writeable


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_other_floats_and_orders_become_float32(dtype: str, tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    params = read_pdparams(write(tmp_path / "m.pdparams", OrderedDict(a=array)))
    assert params["a"].dtype == np.float32
    np.testing.assert_array_equal(params["a"], [[0, 1, 2], [3, 4, 5]])


def test_arrays_that_old_protocols_split_are_joined(tmp_path: Path) -> None:
    content = {
        "w@@.0": np.array([1, 2, 3, 4], np.float32),
        "w@@.1": np.array([5, 6], np.float32),
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}},
    }
    params = read_pdparams(write(tmp_path / "m.pdparams", content, protocol=2))
    assert params.keys() == {"w"}
    np.testing.assert_array_equal(params["w"], [[1, 2, 3], [4, 5, 6]])


# --- what is refused


class Calls:
    """Pickles as a call of `function`, and the result's state after it where there is one."""

    def __init__(self, function: Any, *args: object, state: object = None) -> None:
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (lambda mark: Calls(os.system, f"touch {mark}"), "(posix|nt).system"),
        (lambda mark: Calls(builtins.eval, f"open({str(mark)!r}, 'w')"), "builtins.eval"),
        (lambda mark: Calls(functools.partial, open, mark, "w"), "functools.partial"),
        (lambda mark: Calls(os.mkdir, str(mark)), "(posix|nt).mkdir"),
        (lambda mark: np.float32(3), "numpy.*scalar"),
        (lambda mark: torch.zeros(1), "torch"),
        (lambda mark: Calls(np.fromfile, str(mark)), "numpy.*fromfile"),
        (lambda mark: {1, 2} and Calls(tuple, (("name", 1),)), "builtins.tuple"),
    ],
)
def test_foreign_objects_are_refused_by_name_and_not_run(attack: Any, name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = write(tmp_path / "m.pdparams", {**ARRAYS, "b": attack(mark)})
    with pytest.raises(UserError, match=f"asks for '{name}[^']*'") as error:
        read_pdparams(path)
    assert str(path) in str(error.value)
    assert not mark.exists()


def test_a_forged_dtype_reads_no_foreign_memory(tmp_path: Path) -> None:
    """A record that holds an object but says it holds none: numpy, given this, takes the bytes for a pointer."""
    fields = {"a": (np.dtype("O"), 0)}
    forged = Calls(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), fields, 8, 1, 0))
    reconstruct = np.zeros(1).__reduce__()[0]
    state = (1, (1,), forged, False, struct.pack("Q", 0x4141414141414141))
    array = Calls(reconstruct, np.ndarray, (0,), b"b", state=state)
    with pytest.raises(UserError, match="dtype 'V8', which is refused"):
        read_pdparams(write(tmp_path / "m.pdparams", {"a": array}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "does not contain parameters"),
        ({"StructuredToParameterName@@": {}}, "does not contain parameters"),
        ([ARRAYS["a.bias"]], "holds a list"),
        (3, "holds a int"),
        (
            {**ARRAYS, "LR_Scheduler": {"last_lr": 0.1}},
            "'LR_Scheduler' is not an array of floats but a dict; weights are in",
        ),
        ({**ARRAYS, "epoch": 3}, "'epoch' is not an array of floats but a int"),
        ({7: ARRAYS["a.bias"]}, "7 is not an array of floats"),
        ({"ids": np.arange(3)}, "'ids' is not an array of floats but a array of int64"),
        ({"o": np.array([None, "x"], dtype=object)}, "dtype 'O8', which is refused"),
        ({"s": np.array(["text"])}, "dtype 'U4', which is refused"),
        ({**ARRAYS, "UnpackBigParamInfor@@": {"w": {"OriginShape": (9,), "slices": ["gone"]}}}, "damaged.*split"),
        ({**ARRAYS, "UnpackBigParamInfor@@": [1]}, "damaged.*split"),
    ],
)
def test_other_content_is_refused(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.pdparams", content)
    with pytest.raises(UserError, match=message) as error:
        read_pdparams(path)
    assert str(path) in str(error.value)


def test_damaged_files_are_refused_wherever_they_end(tmp_path: Path) -> None:
    whole = pickle.dumps(ARRAYS, protocol=4)
    path = tmp_path / "m.pdparams"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=re.escape(f"'{path}' is damaged or not a .pdparams file")):
            read_pdparams(path)


def test_changed_bytes_give_arrays_or_an_error(tmp_path: Path) -> None:
    whole, random = pickle.dumps(ARRAYS, protocol=4), np.random.default_rng(0)
    path = tmp_path / "m.pdparams"
    refused = 0
    for _ in range(200):
        changed = bytearray(whole)
        for position in random.integers(0, len(whole), 3):
            changed[position] = random.integers(256)
        path.write_bytes(changed)
        try:
            assert all(array.dtype == np.float32 for array in read_pdparams(path).values())
        except UserError:
            refused += 1
    assert 0 < refused < 200


TWICE = b")" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(60))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02}" + TWICE + b"K\x01s.", "an entry under a tuple in place of a name"),
        (b"\x80\x02}" + TWICE + b"d.", "unknown operation 100"),
        (b"\x80\x04\x8f(" + TWICE + b"\x90.", "unknown operation 143"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "does not contain parameters"),
        (b"\x80\x02}" + b"20" * 200_000 + b".", "more than 300,000 steps"),
        (b"\x80\x02" + b"]" * 5_000 + b"a" * 4_999 + b".", "holds a list, not parameters by name"),
        (
            b"\x80\x02ccollections\nOrderedDict\n}}X\x01\0\0\0ah\0s\x86b.",
            "the state of something that is not an array|damaged",
        ),
    ],
    ids=["keys", "a dictionary", "a set", "memo", "steps", "depth", "a state"],
)
def test_what_would_take_for_ever_is_refused_at_once(content: bytes, message: str, tmp_path: Path) -> None:
    """Tuples that hold each other twice take 2^60 steps to hash; a place in memory may be numbered 2^31."""
    path = tmp_path / "m.pdparams"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_pdparams(path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    for value in (np.array([np.nan], np.float32), np.array([1e300])):
        with pytest.raises(UserError, match="'a' holds NaN or infinity"):
            read_pdparams(write(tmp_path / "m.pdparams", {"a": value}))


@pytest.mark.parametrize("content", [b"", b"this is no pickle", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04 cut"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.pdparams"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged or not a \.pdparams file"):
        read_pdparams(path)


def test_a_missing_file_a_folder_and_a_zip_get_their_own_repair(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not there: give the path of a model\.pdparams"):
        read_pdparams(tmp_path / "nothing.pdparams")
    with pytest.raises(UserError, match=r"is a folder: give the path of a model\.pdparams"):
        read_pdparams(tmp_path)
    archive = tmp_path / "backbone.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model.pdparams", pickle.dumps(ARRAYS))
    with pytest.raises(UserError, match="zip archive: unpack it"):
        read_pdparams(archive)


# --- names


@pytest.mark.parametrize(("model", "dataset"), OFFICIAL)
def test_names_and_shapes_of_official_networks_map_one_to_one(model: str, dataset: str, golden: Path) -> None:
    entry = json.loads((golden / "state_shapes.json").read_text())[f"{model}_{dataset}"]
    with torch.device("meta"):
        segmenter = create_model(model, entry["args"]["num_classes"], **OFFICIAL_VARIANTS[model, dataset])
    check_mapping(segmenter, entry["state"])
    options = OFFICIAL_VARIANTS[model, dataset]
    args = {"cross_size": 12, "drop_path_rate": 0.2, **entry["args"]}  # the reference's constructor defaults
    assert options == {
        "cross_size": args["cross_size"], "injection": tuple(args["use_injection"]), "drop_path": args["drop_path_rate"]
    }  # fmt: skip


def test_names_and_shapes_of_the_tiny_network_map_one_to_one(tiny: Segmenter, golden: Path) -> None:
    check_mapping(tiny, shapes(golden, "rtformer_tiny_test"))


def check_mapping(segmenter: Segmenter, theirs: dict[str, list[int]]) -> None:
    ours = {key: list(value.shape) for key, value in segmenter.state_dict().items() if "num_batches" not in key}
    names = {key: next(iter(to_state_dict({key: np.zeros(1, np.float32)}))) for key in theirs}
    assert len(set(names.values())) == len(theirs)
    assert {names[key]: shape for key, shape in theirs.items()} == ours


def test_the_golden_copy_of_the_shapes_is_the_original(golden: Path, shared: Path) -> None:
    original = json.loads((shared / "golden/state_shapes.json").read_text())
    copy = json.loads((golden / "state_shapes.json").read_text())
    assert copy == {name: {"args": entry["args"], "state": entry["state"]} for name, entry in original.items()}


# --- conversion


def test_converted_weights_describe_themselves_and_survive_saving(cityscapes_file: Path, tmp_path: Path) -> None:
    names = tuple(f"class {k}" for k in range(19))
    segmenter = convert(
        cityscapes_file, "rtformer_slim", "cityscapes",
        class_names=names, palette=[(k, k, k) for k in range(19)], ids=range(19),
    )  # fmt: skip
    assert not segmenter.training
    card = segmenter.card
    assert (card.model, card.attention, card.num_classes) == ("rtformer_slim", "gfa+ca", 19)
    assert (card.dataset, card.input_size, card.source) == ("cityscapes", (512, 1024), "PaddleSeg, model.pdparams")
    assert (card.class_names, card.palette[2], card.ids) == (names, (2, 2, 2), tuple(range(19)))
    segmenter.save_pretrained(tmp_path / "converted")
    back = Segmenter.from_pretrained(tmp_path / "converted")
    assert back.card == card
    params = to_state_dict(read_pdparams(cityscapes_file))
    for key, value in back.state_dict().items():
        assert torch.equal(value, params[key]), key


def test_weights_of_another_network_name_the_right_one(golden: Path, cityscapes_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="19 classes, ade20k has 150: use --dataset cityscapes"):
        convert(cityscapes_file, "rtformer_slim", "ade20k")
    with pytest.raises(UserError, match="32 base channels, rtformer_base has 64: use --model rtformer_slim"):
        convert(cityscapes_file, "rtformer_base", "cityscapes")
    params = fake_params(golden, "rtformer_slim_cityscapes")
    params["seghead.conv2.weight"] = np.zeros((11, 128, 1, 1), np.float32)
    with pytest.raises(UserError, match="11 classes, cityscapes has 19: published networks have 150 or 19"):
        convert(write(tmp_path / "m.pdparams", params), "rtformer_slim", "cityscapes")
    with pytest.raises(
        UserError, match=r"does not contain an RTFormer: it has no 'conv1\.0\.weight', but a\.weight, a\.bias"
    ):
        convert(write(tmp_path / "m.pdparams", ARRAYS), "rtformer_slim", "cityscapes")


def test_missing_and_misshapen_parameters_are_named(golden: Path, tmp_path: Path) -> None:
    params = fake_params(golden, "rtformer_slim_cityscapes")
    del params["layer4.attn_l.k"]
    params["spp.scale0.2.weight"] = np.zeros((64, 256, 1, 1), np.float32)
    params["extra"] = np.zeros(1, np.float32)
    with pytest.raises(UserError) as error:
        convert(write(tmp_path / "m.pdparams", params), "rtformer_slim", "cityscapes")
    for part in ("block4.low_attention.keys.weight", "scales.0.2.weight (64, 256, 1, 1) for (128,", "unknown (extra)"):
        assert part in str(error.value)


def test_unknown_model_and_dataset_get_the_nearest_name(cityscapes_file: Path) -> None:
    with pytest.raises(UserError, match=r"model 'rtformer_slm'\. Did you mean 'rtformer_slim'\?"):
        convert(cityscapes_file, "rtformer_slm", "cityscapes")
    with pytest.raises(UserError, match=r"data set 'cityscape'. Did you mean 'cityscapes'\? Known: ade20k, cityscapes"):
        convert(cityscapes_file, "rtformer_slim", "cityscape")


def test_a_file_without_auxiliary_head_leaves_it_fresh(golden: Path, tmp_path: Path) -> None:
    params = fake_params(golden, "rtformer_slim_cityscapes")
    kept = {key: value for key, value in params.items() if not key.startswith("seghead_extra.")}
    state = convert(write(tmp_path / "m.pdparams", kept), "rtformer_slim", "cityscapes").state_dict()
    for key, value in to_state_dict(params).items():
        assert torch.equal(value, state[key]) != (key.startswith("aux_head.") and "num_batches" not in key), key


def test_a_trunk_and_a_segmentation_network_are_not_confused(
    golden: Path, cityscapes_file: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "backbone.pdparams", trunk_params(golden))
    with pytest.raises(UserError, match="32 base channels, rtformer_base has 64: use --model rtformer_slim"):
        convert_trunk(path, "rtformer_base")
    with pytest.raises(UserError, match="contains a trunk, not a segmentation network"):
        convert(path, "rtformer_slim", "ade20k")
    assert not holds_trunk(cityscapes_file)


def test_the_pickle_stays_unread_past_its_end(tmp_path: Path) -> None:
    """Bytes after the first object are no second one to be run."""
    path, mark = tmp_path / "m.pdparams", tmp_path / "mark"
    stream = io.BytesIO()
    pickle.dump(ARRAYS, stream)
    pickle.dump(Calls(os.mkdir, str(mark)), stream)
    path.write_bytes(stream.getvalue())
    assert read_pdparams(path).keys() == ARRAYS.keys()
    assert not mark.exists()
