"""How many images a second does a device train on, and how long would the 300 epochs of the recipe take?

    python -m benchmarks.pretraining_step [NETWORK ...] [--batch-size N] [--precision bf16 fp32] [--compile] [-o FILE]

A whole step of the recipe on images that lie on the device already: erasing, Mixup, forward, backward, AdamW. What the
loader must deliver for the device never to wait is this rate (benchmarks/input_pipeline.py measures what it does
deliver). The last line is JSON.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from timm.loss import SoftTargetCrossEntropy

from pretrain.data.mixing import MixConfig, Mixing
from pretrain.networks.classifier import create_classifier
from pretrain.optim import OptimConfig, create_optimizer
from rtseg.deploy.device import choose_device, describe_device
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.output.folders import make_folder, write_whole
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import measure

IMAGES, EPOCHS, CLASSES = 1_281_167, 300, 1000
PRECISIONS = ("bf16", "fp32")


def training_step(
    name: str, device: torch.device, batch_size: int, image_size: int, *, bf16: bool, channels_last: bool, compile: bool
) -> Callable[[], Any]:
    """A function that trains on the same batch each time."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = create_classifier(name, CLASSES).to(device).to(memory_format=layout).train()
    forward = torch.compile(network) if compile else network
    config = OptimConfig(warmup_epochs=0)
    optimizer, _ = create_optimizer(network, config, total_steps=1, steps_per_epoch=1, batch_size=1024)
    normalize, mixing, loss = Normalize().to(device), Mixing(MixConfig(), CLASSES), SoftTargetCrossEntropy()
    image = torch.randint(0, 256, (batch_size, 3, image_size, image_size), dtype=torch.uint8, device=device)
    label = torch.randint(CLASSES, (batch_size,), device=device)

    def step() -> None:
        mixed, target = mixing(normalize(image).contiguous(memory_format=layout), label, 0)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = forward(mixed)
        loss(logits.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main(args: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=["rtformer_slim"], help="see pretrain.networks.classifier")
    parser.add_argument("--device", help="cpu, cuda; default: a GPU where there is one")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--precision", nargs="+", default=["bf16"], choices=PRECISIONS)
    parser.add_argument("--contiguous", action="store_true", help="maps channels-first instead of channels-last")
    parser.add_argument("--compile", action="store_true", help="torch.compile the forward pass")
    parser.add_argument("--seconds", type=float, default=6.0, help="timed at least")
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args(args)
    try:
        for name in ("batch_size", "image_size", "seconds"):
            if getattr(arguments, name) <= 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(arguments, name)} must be above 0")
        if arguments.batch_size % 2:
            raise UserError(f"--batch-size {arguments.batch_size} must be even: Mixup pairs images")
        device = choose_device(arguments.device)
        rows = []
        for name in arguments.networks:
            for precision in arguments.precision:
                step = training_step(
                    name, device, arguments.batch_size, arguments.image_size, bf16=precision == "bf16",
                    channels_last=not arguments.contiguous, compile=arguments.compile,
                )  # fmt: skip
                timing = measure(
                    step,
                    Conditions(device=device, batches=[arguments.batch_size], rounds=10, seconds=arguments.seconds),
                )
                hours = IMAGES * EPOCHS / timing.fps / 3600
                print(
                    f"{name}, {precision}: {timing.fps:.1f} images/s; {EPOCHS} epochs on one such device: {hours:.1f} h"
                )
                rows.append({"network": name, "precision": precision, "hours": hours, **asdict(timing)})
    except UserError as error:
        sys.exit(f"error: {error}")
    conditions = {"device": describe_device(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    asked = {
        key: value for key, value in vars(arguments).items() if key not in ("output", "networks", "precision", "device")
    }
    text = json.dumps({"conditions": {**conditions, **asked}, "rows": rows})
    if arguments.output is not None:
        make_folder(arguments.output.parent)
        write_whole(arguments.output, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
