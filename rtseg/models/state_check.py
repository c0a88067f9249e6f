"""Whether weights can be used at all, whatever their names and shapes: plain tensors of the right kind, all finite."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rtseg.errors import UserError


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Any], source: str) -> None:
    """Refuses weights that `load_state_dict` would take silently, or fail on without a clear message.

    Floats of another precision are converted by `load_state_dict`, so they pass where all are finite after that.

    Args:
        own: the state dict of the network; its tensors may be on the meta device.
        state: the weights. Entries that `own` lacks are checked too, as far as that is possible.
        source: where they come from, for the error.

    Raises:
        UserError: an entry is not a plain dense tensor (a list, a sparse or quantised tensor, one element expanded to
            millions), is of another kind of number, holds NaN or infinity, or is a variance below 0.
    """
    if not isinstance(state, Mapping):
        raise UserError(f"{source} holds a {type(state).__name__} in place of weights by name: export it again")
    wrong: dict[str, list[str]] = defaultdict(list)
    for key, value in state.items():
        if fault := _fault(key, value, own.get(key)):
            wrong[fault].append(str(key))
    if wrong:
        faults = "; ".join(
            f"{len(keys)} {fault} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for fault, keys in wrong.items()
        )
        raise UserError(
            f"the weights in {source} cannot be used: of {len(state)} entries {faults}. "
            "Take an earlier checkpoint, or copy or export them again"
        )


@torch.no_grad()
def _fault(key: Any, value: Any, own: Tensor | None) -> str | None:
    """What is wrong with one entry, to stand after a number."""
    if not isinstance(key, str):
        return "have no text as their name"
    if not isinstance(value, Tensor):
        return f"are not tensors but of type {type(value).__name__}"
    if not _is_plain(value):
        return "are not plain dense tensors"
    dtype = value.dtype if own is None else own.dtype
    if _kind(value.dtype) != _kind(dtype):
        return f"are of {_name(value.dtype)}, not {_name(dtype)}"
    if not value.is_floating_point() or not value.numel():
        return None
    converted = value.to(dtype)
    # The sum is ten times as fast, but may overflow where each value is finite.
    if not converted.sum().isfinite() and not converted.isfinite().all():
        return "hold NaN or infinity"
    if key.endswith("running_var") and converted.min() < 0:
        return "are variances below 0"
    return None


def _is_plain(value: Tensor) -> bool:
    if type(value) not in (Tensor, nn.Parameter) or value.layout != torch.strided or value.is_meta:
        return False
    if value.is_quantized or value.is_nested:
        return False
    # One stored element can stand for billions by a stride of 0.
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point or dtype.is_complex:
        return "complex" if dtype.is_complex else "float"
    return "bool" if dtype == torch.bool else "integer"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
