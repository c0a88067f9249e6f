"""Golden loss curves: 20 optimizer steps of a tiny network with every attention, backbone and head, on drawn images.

    python -m tests.golden.make            # records what has no recording yet, and leaves the others as they are
    python -m tests.golden.make --again    # records all of them anew: only where a change of a training is meant

A change of code that changes a training changes a curve. `test_loss_curves.py` beside this file compares: equal to the
last digit on the kind of processor where the recording was made, within a tolerance elsewhere.
"""

import argparse
import json
import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from rtseg.attention import list_attentions
from rtseg.attention.registry import get_mechanism
from rtseg.data.dataset import Sample
from rtseg.deploy.device import instruction_sets
from rtseg.models import list_heads, list_models
from rtseg.models.backbone import backbone_options, choose_attention, choose_head
from rtseg.models.heads import head_options
from rtseg.training.module import SegmentationModule

RECORDING = Path(__file__).parent / "loss_curves.json"
STEPS, BATCH, CLASSES, SIZE = 20, 4, 5, 64
# Those of them that a backbone or its head has.
TINY = {"base_channels": 8, "cross_size": 2, "drop_path": 0.1, "head_channels": 8, "spp_channels": 8}


def cases() -> dict[str, dict[str, Any]]:
    """Name of the curve -> arguments of `SegmentationModule`. One name serves both branches where both may have it."""
    models = {name: {"name": name} for name in list_models()}
    texts = [f"gfa+{name}" if get_mechanism(name).needs_context else name for name in list_attentions()]
    own = choose_attention("rtformer_slim", None)  # is among the models
    attentions = {
        f"rtformer_slim {text}": {"name": "rtformer_slim", "attention": text} for text in texts if text != own
    }
    covered = {choose_head(name, None) for name in models}
    heads = {f"rtformer_slim head={name}": {"name": "rtformer_slim", "head": name} for name in list_heads()}
    return models | attentions | {key: case for key, case in heads.items() if case["head"] not in covered}


def loss_curve(name: str, **arguments: Any) -> list[float]:
    """The loss of each step."""
    known = backbone_options(name) | head_options(choose_head(name, arguments.get("head")))
    options = {key: value for key, value in TINY.items() if key in known}
    with _same_everywhere():
        torch.manual_seed(0)
        module = SegmentationModule(
            name, CLASSES, options=options, optim={"lr": 3e-3, "warmup_steps": 2},  # type: ignore[arg-type]
            ema_decay=0.9, batch_size=BATCH, **arguments,
        )  # fmt: skip
        losses = _Losses()
        trainer = L.Trainer(
            accelerator="cpu", max_steps=STEPS, callbacks=[losses], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, _batches())
    return losses.curve


def _batches() -> DataLoader[Sample]:
    """Squares on a ground, each class its grey level and noise; 255 is ignored."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for k in range(STEPS * BATCH):
        mask = torch.randint(CLASSES, (8, 8), generator=generator).repeat_interleave(8, 0).repeat_interleave(8, 1)
        noise = torch.randint(40, (3, SIZE, SIZE), generator=generator)
        image = (mask * 45 + noise).to(torch.uint8)
        mask = torch.where(torch.rand(SIZE, SIZE, generator=generator) < 0.05, 255, mask)
        samples.append(Sample(image, mask, str(k), (SIZE, SIZE)))
    return DataLoader(samples, BATCH, collate_fn=_collate)  # type: ignore[arg-type]


def _collate(samples: list[Sample]) -> Sample:
    images, masks, names, sizes = zip(*samples, strict=True)
    return Sample(torch.stack(images), torch.stack(masks), list(names), list(sizes))  # type: ignore[arg-type]


class _Losses(L.Callback):
    def __init__(self) -> None:
        self.curve: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *rest: Any) -> None:
        self.curve.append(float(outputs["loss"]))


@contextmanager
def _same_everywhere() -> Iterator[None]:
    """One thread and plain float32: sums in another order have other last digits."""
    log = logging.getLogger("lightning.pytorch")
    level, threads, precision = log.level, torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's hints on loaders of few processes
            log.setLevel(logging.ERROR)  # and on its other products
            yield
    finally:
        log.setLevel(level)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def kind_of_processor() -> dict[str, Any]:
    """What the last digits depend on: the kernels that PyTorch and its libraries choose."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    split = (line.partition(":") for line in reversed(lines))
    pairs = {key.strip(): value.strip() for key, _, value in split}
    name = " ".join(pairs[key] for key in ("vendor_id", "cpu family", "model") if key in pairs)
    return {
        "processor": name or platform.processor(),
        "instruction_sets": instruction_sets(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def read() -> dict[str, Any]:
    """{"made_on": kind of processor, "elsewhere": {name: another kind}, "curves": {name: losses}}"""
    return json.loads(RECORDING.read_text())


def main() -> None:
    """The command above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="record also what has a recording")
    parser.add_argument("-o", "--output", type=Path, default=RECORDING)
    arguments = parser.parse_args()
    here = kind_of_processor()
    recording: dict[str, Any] = {"made_on": here, "elsewhere": {}, "curves": {}}
    if arguments.output.is_file() and not arguments.again:
        recording |= json.loads(arguments.output.read_text())
    known, elsewhere = recording["curves"], recording["elsewhere"]
    curves = {name: known.get(name) or loss_curve(**case) for name, case in sorted(cases().items())}
    if here != recording["made_on"]:
        elsewhere |= {name: here for name in curves.keys() - known.keys()}
    kinds = [json.dumps(recording["made_on"]), _lines({name: elsewhere[name] for name in sorted(elsewhere)})]
    content = f'{{"made_on": {kinds[0]},\n"elsewhere": {kinds[1]},\n"curves": {_lines(curves)}}}\n'
    arguments.output.write_text(content)
    print(f"{arguments.output}: {len(curves)} curves, {len(curves.keys() - known.keys())} new")


def _lines(entries: dict[str, Any]) -> str:
    """As JSON, one entry a line."""
    rows = ",\n".join(f'  "{name}": {json.dumps(entry)}' for name, entry in entries.items())
    return f"{{\n{rows}\n}}"


if __name__ == "__main__":
    main()
