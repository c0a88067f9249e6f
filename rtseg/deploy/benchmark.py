"""Speed that can be believed: what one or more networks need for a picture, measured side by side, with the conditions.

Two figures a network, in eager PyTorch: picture on the device -> class map at input size (the headline), and the
network alone, normalised image -> stride-8 logits (what papers tend to time). docs/benchmark.md is the protocol.
"""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import rtseg
from rtseg.deploy.device import choose_device, describe_device
from rtseg.deploy.fuse import DeployedSegmenter, deploy
from rtseg.deploy.predictor import to_rgb
from rtseg.deploy.timing import Step, Timing, measure, measure_together
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.output import make_folder

__all__ = ["Candidate", "NetworkReport", "Report", "Timing", "benchmark", "count_macs", "measure", "run_benchmark"]

UNTRAINED = "random (untrained)"
PROTOCOL = {
    "class_map": "uint8 picture on the device -> normalise, network, bilinear to input size, argmax -> class map on it",
    "network": "normalised image on the device -> stride-8 logits on the device",
}
_MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Candidate(NamedTuple):
    """A network to be measured, and what its weights are."""

    segmenter: Segmenter
    weights: str = UNTRAINED


@dataclass(frozen=True)
class NetworkReport:
    """One network's figures.

    Attributes:
        parameters: of inference, the auxiliary head left out.
        macs: multiply-adds of one picture up to the stride-8 logits, attention products counted.
        peak_memory_bytes: weights and activations of one run, on CUDA.
    """

    model: str
    attention: str
    num_classes: int
    weights: str
    parameters: int
    macs: int
    peak_memory_bytes: int | None
    class_map: Timing
    network: Timing


@dataclass(frozen=True)
class Report:
    """Figures of networks from one interleaved run, and the conditions that they hold under (plain JSON types)."""

    conditions: dict[str, Any]
    networks: tuple[NetworkReport, ...]

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"protocol": PROTOCOL, **asdict(self), "doubts": self.doubts()})

    def doubts(self) -> list[str]:
        """Why the figures may not repeat: other work on the machine, drift, or a wide spread."""
        device = self.conditions["device"]
        found = []
        if (busy := device.get("cores_busy_with_other_work", 0)) > 0.3:
            found.append(f"other work kept {busy} cores of this machine busy before the start")
        for row in self.networks:
            for what, timing in (("class map", row.class_map), ("network", row.network)):
                if abs(timing.drift) > 0.1:
                    found.append(f"{row.model} {row.attention}, {what}: drifted by {timing.drift:+.0%} during the run")
                if timing.p95_ms > 1.5 * timing.median_ms:
                    found.append(f"{row.model} {row.attention}, {what}: unsteady, p95 / median above 1.5")
        return found

    def table(self) -> Table:
        """The same for people."""
        c = self.conditions
        device = c["device"]
        height, width = c["input_size"]
        machine = ", ".join(f"{key} {value}" for key, value in device.items() if key != "name")
        table = Table(
            title=f"{height}x{width} (height x width), batch {c['batch_size']}, {device['name']}",
            caption=f"{machine}\n"
            f"PyTorch {c['torch']} {c['backend']}, {c['precision']}, {c['memory_format']}, BatchNorm {c['batchnorm']}; "
            f"commit {c['git_commit'] or 'unknown'}, {c['date']}\n"
            + "\n".join(["median (5th to 95th percentile) in ms; FPS = batch / median", *self.doubts()]),
        )
        for heading in ("network", "weights"):
            table.add_column(heading)
        for heading in ("params", "MACs", "picture → class map", "FPS", "stride-8 logits only", "FPS"):
            table.add_column(heading, justify="right")
        for row in self.networks:
            table.add_row(
                f"{row.model} {row.attention}, {row.num_classes} classes",
                row.weights,
                f"{row.parameters / 1e6:.2f} M",
                f"{row.macs / 1e9:.2f} G",
                *_cells(row.class_map),
                *_cells(row.network),
            )
        return table


def _cells(timing: Timing) -> tuple[str, str]:
    return f"{timing.median_ms:.2f} ({timing.p5_ms:.2f}-{timing.p95_ms:.2f})", f"{timing.fps:.1f}"


def benchmark(
    candidates: Sequence[Candidate],
    input_size: tuple[int, int],
    *,
    device: str | torch.device | None = None,
    batch_size: int = 1,
    threads: int | None = None,
    memory_format: str = "channels_last",
    image: np.ndarray | None = None,
    **timing: Any,
) -> Report:
    """Measures networks side by side. Copies are measured; thread count and cuDNN's mode are put back afterwards.

    Args:
        input_size: (height, width).
        threads: of PyTorch on the CPU; None leaves them.
        memory_format: "channels_last" or "contiguous".
        image: (H, W, 3) uint8 RGB, resized to the input size; None takes a drawn texture.
        timing: passed on to `measure_together`.

    Raises:
        UserError: a bad device, size, number of threads or memory format.
    """
    device = choose_device(device)
    numbers = {"height": input_size[0], "width": input_size[1], "batch size": batch_size, "threads": threads}
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"{name} {value} must be at least 1")
    if memory_format not in _MEMORY_FORMATS:
        raise UserError(f"memory format '{memory_format}': choose one of {', '.join(_MEMORY_FORMATS)}")
    picture = texture(input_size) if image is None else cv2.resize(image, input_size[::-1])
    # Every picture of the batch differs.
    pictures = torch.from_numpy(np.stack([np.roll(picture, 7 * i, axis=1) for i in range(batch_size)])).to(device)
    with _settings(threads), torch.inference_mode():
        described = describe_device(device)  # first of all: the load is that of other work
        deployed = [deploy(c.segmenter, memory_format=_MEMORY_FORMATS[memory_format]).to(device) for c in candidates]
        steps: list[Step] = []
        for network in deployed:
            steps += [partial(network, pictures), partial(network.segmenter.logits, network.prepare(pictures))]
        timings = measure_together(steps, device=device, batch_size=batch_size, **timing)
        conditions = {
            "device": described,
            "rtseg": rtseg.__version__,
            "torch": torch.__version__,
            "backend": "eager",
            "cuda_graph": False,
            "precision": ", ".join(sorted({str(p.dtype)[6:] for network in deployed for p in network.parameters()})),
            "tf32": _tf32() if device.type == "cuda" else None,
            "cudnn_benchmark": torch.backends.cudnn.benchmark if device.type == "cuda" else None,
            "memory_format": memory_format,
            "batchnorm": "not folded",
            "input_size": list(input_size),
            "batch_size": batch_size,
            "input": "drawn texture" if image is None else "given picture",
            "git_commit": _git_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        rows = [
            NetworkReport(
                model=candidate.segmenter.card.model,
                attention=candidate.segmenter.card.attention,
                num_classes=candidate.segmenter.card.num_classes,
                weights=candidate.weights,
                parameters=sum(p.numel() for p in network.parameters()),
                macs=count_macs(network.segmenter, input_size),
                peak_memory_bytes=_peak_memory(network, pictures),
                class_map=timings[2 * i],
                network=timings[2 * i + 1],
            )
            for i, (candidate, network) in enumerate(zip(candidates, deployed, strict=True))
        ]
    return Report(conditions, tuple(rows))


@contextmanager
def _settings(threads: int | None) -> Iterator[None]:
    """The input size is fixed, so cuDNN may search for its fastest algorithms."""
    own_threads, own_mode = torch.get_num_threads(), torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.benchmark = True
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.backends.cudnn.benchmark = own_mode
        torch.set_num_threads(own_threads)


def texture(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: gradients, waves and noise, the same on every call."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    waves = [np.sin(x / 3**k + k) * np.cos(y / 2**k - k) for k in range(1, 4)]
    noise = np.random.default_rng(0).normal(0, 12, (*size, 3))
    picture = 128 + 40 * np.stack(waves, -1) + 50 * ((x + y) / (size[0] + size[1]) - 0.5)[..., None] + noise
    return picture.clip(0, 255).astype(np.uint8)


def count_macs(segmenter: Segmenter, input_size: tuple[int, int]) -> int:
    """Multiply-adds of convolutions, linear maps and attention products from one picture to the stride-8 logits."""
    shapes_only = deploy(segmenter).segmenter.to("meta")
    image = torch.empty(1, 3, *input_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        shapes_only.logits(image.to(next(shapes_only.parameters()).dtype))
    return counter.get_total_flops() // 2


def _peak_memory(network: DeployedSegmenter, pictures: Tensor) -> int | None:
    """Of this network alone: its weights, and what one run allocates beyond everything that is resident."""
    if pictures.device.type != "cuda":
        return None
    torch.cuda.synchronize(pictures.device)
    torch.cuda.reset_peak_memory_stats(pictures.device)
    resident = torch.cuda.memory_allocated(pictures.device)
    network(pictures)
    torch.cuda.synchronize(pictures.device)
    return torch.cuda.max_memory_allocated(pictures.device) - resident + sum(p.nbytes for p in network.parameters())


def _tf32() -> dict[str, bool]:
    return {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}


def _git_commit() -> str | None:
    """Of the checkout that this very file belongs to, with '+changes' where it was edited since."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def weights_hash(module: nn.Module) -> str:
    """Names weights by their values, whatever file they came in; the auxiliary head does not count."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if not key.startswith("aux_head."):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:12]}"


@contextmanager
def timing_progress(description: str, console: Console) -> Iterator[Callable[[float], None]]:
    """A bar for `on_progress` of `measure_together`; it moves between the turns alone."""
    with Progress(console=console) as progress:
        bar = progress.add_task(description, total=1.0)
        yield lambda share: progress.update(bar, completed=share)


def run_benchmark(
    checkpoints: Sequence[str] = (),
    model: str | None = None,
    attentions: Sequence[str] = (),
    input_size: tuple[int, int] = (512, 512),
    num_classes: int = 150,
    device: str | None = None,
    batch_size: int = 1,
    threads: int | None = None,
    output: Path | None = None,
    *,
    memory_format: str = "channels_last",
    image: Path | None = None,
    **timing: Any,
) -> Report:
    """The command: measures checkpoints, and untrained networks by name; prints a table and, as last line, the JSON.

    Args:
        checkpoints: whatever `Segmenter.from_pretrained` takes.
        model, attentions: networks by name, one for each attention; rtformer_slim with gfa+ca where nothing is named.
        num_classes: of the networks by name.
        output: a file for the JSON; must not exist, its folder is made.
        image: a picture to run on, instead of the drawn texture.

    Raises:
        UserError: see `benchmark`, `Segmenter.from_pretrained` and `create_model`; or `output` exists or cannot be
            written.
    """
    device_found = choose_device(device)
    candidates = [
        Candidate(segmenter, weights_hash(segmenter)) for segmenter in map(Segmenter.from_pretrained, checkpoints)
    ]
    if model or attentions or not checkpoints:
        for attention in attentions or ("gfa+ca",):
            candidates.append(Candidate(create_model(model or "rtformer_slim", num_classes, attention=attention)))
    if output is not None:  # before the minutes that it takes to measure
        make_folder(output.parent)
        if output.exists():
            raise UserError(f"'{output}' exists; give another name for the result, or remove it")
    with timing_progress(f"timing {len(candidates)} network(s) on {device_found}", Console(stderr=True)) as on_progress:
        report = benchmark(
            candidates,
            input_size,
            device=device_found,
            batch_size=batch_size,
            threads=threads,
            memory_format=memory_format,
            image=None if image is None else to_rgb(image),
            on_progress=on_progress,
            **timing,
        )
    console = Console(width=None if Console().is_terminal else 150)
    console.print(report.table())
    if output is not None:
        output.write_text(report.to_json() + "\n")
    print(report.to_json())
    return report
