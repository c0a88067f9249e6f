"""Memory that a map of positions by positions needs, said before it is made: on a CPU the system ends a process that
takes too much, without a word.

At 544x960, layer4 of PSMNet has 32,640 positions, and the map of each by each takes 4.3 GB for an
image and head.
"""

import torch
from torch import Tensor

from rtseg.attention.base import Attention
from rtseg.errors import UserError
from rtseg.memory import free_memory

_SMALL = 2**26  # bytes that are not worth a look at the machine


class MapsTooLargeError(UserError):
    """The maps of an attention do not fit into the memory that is free."""


def check_maps_fit(attention: Attention, queries: Tensor, bytes_of_pair: int) -> None:
    """Before a forward pass that holds maps of positions by positions.

    Where a network is compiled, traced or recorded, nothing is checked: sizes may be open, and nothing is computed yet.

    Args:
        queries: (B, heads, channels, N); each map is (B, heads, N, N).
        bytes_of_pair: what the pass, in training with its backward pass, holds at once for two positions of a head.

    Raises:
        MapsTooLargeError: more than is free.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(queries) is not Tensor or queries.is_meta:
        return
    batch, heads, _, positions = queries.shape
    training = queries.requires_grad
    needed = bytes_of_pair * batch * heads * positions**2
    if needed < _SMALL or (queries.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    free = free_memory(queries.device)
    if free is not None and needed > free:
        at = f" at {attention.place}" if attention.place else ""
        raise MapsTooLargeError(
            f"attention '{attention.name}'{at} would need {needed / 1e9:.1f} GB{' in training' * training} for its "
            f"maps of {positions:,} by {positions:,} positions ({batch} image{'s' * (batch != 1)}, {heads} "
            f"head{'s' * (heads != 1)}); {free / 1e9:.1f} GB are free. Take fa, whose memory is linear, nl with "
            "kind=gauss and basis equal to values, which never has the whole map, smaller images or smaller batches"
        )
