"""Paddle's files of parameters (.pdparams), read without Paddle and without trusting the file.

A .pdparams file is a pickle of {parameter name: numpy array}, and a pickle can run any program. Here the few names that
a pickled array consists of stand for classes of this file, and every other name is refused. Numpy's own classes stay
out too: a forged dtype makes numpy follow pointers that the file chose.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.errors import UserError, first_line


def read_pdparams(path: str | Path) -> dict[str, np.ndarray]:
    """The parameters in a .pdparams file by Paddle's names, as float32 arrays.

    Raises:
        UserError: the file is missing, damaged or not a pickle; a name in it does not belong to an array (nothing is
            executed); or a value is not an array of floats.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise UserError(f"'{path}' is {what}: give the path of a model.pdparams")
    if zipfile.is_zipfile(path):
        raise UserError(f"'{path}' is a zip archive: unpack it and give the .pdparams in it")
    try:
        values = _ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    except Exception as error:  # a damaged pickle raises anything, as its bytes decide
        raise UserError(f"'{path}' is damaged or not a .pdparams file: {first_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"'{path}' holds a {type(values).__name__}, not parameters by name")
    values.pop("StructuredToParameterName@@", None)  # Paddle's internal names
    split = values.pop("UnpackBigParamInfor@@", {})
    if not values:
        raise UserError(f"'{path}' does not contain parameters")
    arrays = {}
    for name, value in values.items():
        array = value.array if isinstance(value, _Array) else None
        if not isinstance(name, str) or array is None or array.dtype.kind != "f":
            kind = "dict" if isinstance(value, dict) else type(value).__name__
            what = kind if array is None else f"array of {array.dtype}"
            raise UserError(
                f"'{path}': {name!r} is not an array of floats but a {what}; weights are in a model.pdparams"
            )
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(np.float32)
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"'{path}': {name!r} holds NaN or infinity: copy the file again, or give an earlier one")
    try:
        for name, info in split.items():  # pickle protocols 2 and 3 cut arrays of more than 4 GB into slices
            if not all(isinstance(part, str) for part in info["slices"]):  # the hash of a tuple may take for ever
                raise TypeError("a slice without a name")
            whole = np.concatenate([arrays.pop(part) for part in info["slices"]])
            arrays[str(name)] = whole.reshape(info["OriginShape"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' is damaged: its list of split arrays does not fit ({error!r})") from None
    return arrays


class _Array:
    """What pickle gets for a numpy array: made empty, then filled from the state that numpy writes."""

    def __init__(self, *_: object) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, column_major, data = state
        self.array = np.frombuffer(data, dtype.numpy()).reshape(shape, order="F" if column_major else "C")


class _Dtype:
    """What pickle gets for a numpy dtype: plain numbers only, no objects and no records."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.byte_order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.byte_order = state[1]

    def numpy(self) -> np.dtype:
        if not re.fullmatch("[fiu][1248]|b1", self.code) or self.byte_order not in ("<", ">", "=", "|"):
            raise UserError(f"it holds an array of dtype {self.code!r}, which is refused; weights are arrays of floats")
        return np.dtype(self.byte_order + self.code)


def _encode(text: str, encoding: str) -> bytes:
    """How pickle protocol 2 writes bytes."""
    if encoding != "latin1":
        raise UserError("it holds bytes that are not encoded as 'latin1', which is refused")
    return text.encode("latin1")


class _Named(dict):
    """What pickle gets for a dictionary.

    Its keys are text or numbers: the hash of a tuple that holds another one twice, and so on, takes for ever.
    """

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = ()) -> None:
        super().__init__()
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str | int | float):
            raise UserError(f"it holds an entry under a {type(key).__name__} in place of a name, which is refused")
        super().__setitem__(key, value)


def _build(unpickler: Any) -> None:
    """Only arrays and their dtypes have a state; pickle would also set attributes of functions and classes."""
    state = unpickler.stack.pop()
    if not isinstance(unpickler.stack[-1], _Array | _Dtype):
        raise pickle.UnpicklingError("it sets the state of something that is not an array")
    unpickler.stack[-1].__setstate__(state)


class _Operations(dict):
    """pickle's functions by operation, of which so many run at most: a file of operations that lead nowhere could take
    hours.
    """

    left = 300_000  # PaddleSeg's files need some ten thousand

    def __getitem__(self, operation: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise UserError("it takes more than 300,000 steps to read, which no file of parameters does")
        return super().__getitem__(operation)

    def __missing__(self, operation: int) -> None:
        raise pickle.UnpicklingError(f"unknown operation {operation}")


class _ArrayUnpickler(pickle._Unpickler):
    """The standard library's unpickler in Python: of that in C, no operation can be restricted, and its memory grows
    with any number that a file names.
    """

    _ADMITTED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): None,  # an argument of _reconstruct, never called
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _Named,
    }
    _REFUSED = (*pickle.DICT, *pickle.EMPTY_SET, *pickle.ADDITEMS, *pickle.FROZENSET)  # the others that take hashes

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        ours = {
            pickle.EMPTY_DICT[0]: lambda unpickler: unpickler.append(_Named()),
            pickle.BUILD[0]: _build,
        }
        left = {code: function for code, function in pickle._Unpickler.dispatch.items() if code not in self._REFUSED}
        self.dispatch = _Operations(left | ours)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ADMITTED:
            raise UserError(f"it asks for '{module}.{name}', which does not belong to an array: refused, and not run")
        return self._ADMITTED[module, name]
