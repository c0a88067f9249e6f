"""What the classifiers of Table 2 have and take here: parameters, multiply-adds, and times in turns."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pretrain.networks.classifier import create_classifier
from rtseg.deploy.device import describe_device
from rtseg.errors import UserError
from rtseg.models import list_models
from rtseg.models.backbone import NO_ATTENTION, choose_attention
from rtseg.speed.conditions import Conditions
from rtseg.speed.machine import git_commit, out_of_memory, timing_settings
from rtseg.speed.progress import progress_bar
from rtseg.speed.report import UNTRAINED, NetworkReport, Report
from rtseg.speed.timing import measure_together
from rtseg.terminal import Console
from rtseg.version import VERSION

NUM_CLASSES = 1000


def count(name: str, image_size: int) -> tuple[int, int]:
    """Parameters of the classifier called `name`, and multiply-adds of one square image; nothing is computed."""
    with torch.device("meta"):
        network, image = create_classifier(name, NUM_CLASSES).eval(), torch.empty(1, 3, image_size, image_size)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def measure_table(counts: Mapping[str, tuple[int, int]], conditions: Conditions, console: Console) -> Report:
    """Two rows a network, one for each batch: from normalised images on the device to logits there.

    Args:
        counts: `count` of each classifier by name.
        conditions: with one size and two batches.

    Raises:
        UserError: the memory is not enough.
    """
    device, shapes = conditions.where, conditions.shapes
    title = f"{len(counts)} classifier(s) on {device}"
    try:
        with timing_settings(conditions.threads), torch.inference_mode():
            described = describe_device(device)  # first of all: the load is that of other work
            layout: Any = {"device": device, "memory_format": torch.channels_last}
            with conditions.seeded():
                images = [torch.randn(batch, 3, *size).to(**layout) for batch, *size in shapes]
                networks = [create_classifier(name, NUM_CLASSES).eval().to(**layout) for name in counts]
            steps = [partial(network, image) for network in networks for image in images]
            with progress_bar(title, console) as progress:
                batches = [*conditions.batches] * len(counts)
                timings = measure_together(steps, conditions, batches=batches, on_progress=progress.timed)
            measured = replace(conditions, threads=torch.get_num_threads())
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise UserError("the memory is not enough: give a smaller --batch-size, or fewer networks") from None
    said = {
        "device": described,
        "timing": measured.to_dict(),
        "rtseg": VERSION,
        "torch": torch.__version__,
        "tf32": False if device.type == "cuda" else None,
        "input": "random pixels",
        "git_commit": git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    timed = iter(timings)
    rows = [
        NetworkReport(
            model=name,
            attention=choose_attention(name, None) if name in list_models() else NO_ATTENTION,
            num_classes=NUM_CLASSES,
            weights=UNTRAINED,
            backend="eager:fp32",
            engine={"backend": "eager", "torch": torch.__version__, "memory_format": "channels_last"},
            input_size=(height, width),
            batch_size=batch,
            parameters=parameters,
            macs=macs,
            network=next(timed),
        )
        for name, (parameters, macs) in counts.items()
        for batch, height, width in shapes
    ]
    return Report(said, tuple(rows))
