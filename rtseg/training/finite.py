"""Whether tensors hold NaN or infinity: one norm of all of them, and their names only where it is not finite."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def by_kind(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Lists of one device and type each: PyTorch's fused functions are fast on such."""
    kinds: dict[Any, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        kinds[tensor.device, tensor.dtype].append(tensor)
    return list(kinds.values())


@torch.no_grad()
def norms(tensors: Iterable[Tensor]) -> list[Tensor]:
    """() in float32 at least, of each tensor: root of the sum of its squares.

    It is not finite where a value is not, nor where a square leaves float32 (values from 2e19); AdamW squares them too.
    """
    listed = list(tensors)
    found: dict[int, Tensor] = {}
    for kind in by_kind(listed):
        values = torch._foreach_norm(kind, 2, dtype=torch.promote_types(kind[0].dtype, torch.float32))
        found.update(zip(map(id, kind), values, strict=True))
    return [found[id(tensor)] for tensor in listed]


def norm(of_each: Sequence[Tensor]) -> Tensor:
    """() on the device of the first: of all tensors together, from the norm of each."""
    return torch.linalg.vector_norm(torch.stack([value.to(of_each[0].device) for value in of_each]))


def not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the floating-point tensors that hold a value that is not finite."""
    floats = [(name, tensor) for name, tensor in named if tensor.is_floating_point()]
    if all(norm(norms(kind)).isfinite() for kind in by_kind(tensor for _, tensor in floats)):
        return []
    return [name for name, tensor in floats if not tensor.isfinite().all()]


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor inside dictionaries and lists, by its keys from the outside in, joined by dots."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from named_tensors(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for place, entry in enumerate(value):
            yield from named_tensors(entry, f"{name}.{place}")


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
