"""Paddle's names of an RTFormer's parameters, and ours."""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# Paddle's name -> ours; all that match apply, in this order.
_RENAMES = [
    tuple(line.split())
    for line in r"""
    \._mean$                               .running_mean
    \._variance$                           .running_var
    ^conv1\.                               backbone.stem.
    ^layer([123])\.                        backbone.stage\1.
    ^compression3\.                        backbone.stage3_to_high.
    ^layer3_\.0\.                          backbone.stage3_high.
    \.downsample\.                         .shortcut.
    ^layer([45])\.compression\.            layer\1.low_to_high.
    ^layer([45])\.                         backbone.block\1.
    \.attn_shortcut_l\.                    .low_shortcut.
    \.attn_l\.norm\.                       .low_norm.
    \.attn_l\.k$                           .low_attention.keys.weight
    \.attn_l\.v$                           .low_attention.values.weight
    \.attn_h\.norm\.                       .high_norm.
    \.cross_kv\.0\.                        .high_attention.norm.
    \.cross_kv\.2\.                        .high_attention.keys_values.
    \.mlp_l\.                              .low_mlp.
    \.mlp_h\.                              .high_mlp.
    \.down\.([02])\.                       .high_to_low.0.\1.
    \.down\.3\.                            .high_to_low.1.0.
    \.down\.5\.                            .high_to_low.1.2.
    ^spp\.scale0\.                         head.context.scales.0.
    ^spp\.scale([1-4])\.1\.                head.context.scales.\1.0.
    ^spp\.scale([1-4])\.3\.                head.context.scales.\1.2.
    ^spp\.process1\.                       head.context.processes.0.
    ^spp\.process2\.                       head.context.processes.1.
    ^spp\.process3\.                       head.context.processes.2.
    ^spp\.process4\.                       head.context.processes.3.
    ^spp\.                                 head.context.
    ^(seghead|seghead_extra)\.bn([12])\.   \1.\2.0.
    ^(seghead|seghead_extra)\.conv([12])\. \1.\2.2.
    ^(seghead|seghead_extra)\.1\.          \1.hidden.
    ^(seghead|seghead_extra)\.2\.          \1.classify.
    ^seghead\.                             head.classifier.
    ^seghead_extra\.                       aux_head.
""".strip().splitlines()
]


def to_state_dict(params: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Paddle's names and arrays -> the state dict of a Segmenter; the layout of every weight is the same.

    Names that are none of RTFormer's stay as they are.
    """
    state = {}
    for name, array in params.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = torch.from_numpy(array)
    counters = [name.replace("running_mean", "num_batches_tracked") for name in state if name.endswith(".running_mean")]
    return state | {name: torch.tensor(0) for name in counters}
