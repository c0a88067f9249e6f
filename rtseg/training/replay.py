"""Runs a training step again that was not finite, from what `StepGuard` kept, and says what caused it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.plugins import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch import Tensor, nn

from rtseg.deploy.device import choose_device
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.models.weights import read_checkpoint
from rtseg.output.table import Column, Table, show
from rtseg.registry import trained_with
from rtseg.terminal import say
from rtseg.training.finite import few, named_tensors, norms
from rtseg.training.network_module import NetworkModule
from rtseg.training.results import NONFINITE

TOP = 5  # layers in a table
PLAIN = "32-true"
_PLAIN = {"ema_decay": 0.0, "compile": False}  # settings that have no part in what a step gives
_COMMANDS = {
    "segmenter": "rtseg replay", "classifier": "python -m pretrain replay", "detector": "rtseg instances replay",
    "stereo": "rtseg stereo replay",
}  # fmt: skip
_LARGE = 1e9  # no output of a healthy network


class Seen(NamedTuple):
    """What one run of the step showed.

    Attributes:
        terms: the terms of the loss.
        activations, gradients: largest magnitude by module and by parameter, in the order in which they came.
    """

    terms: dict[str, float]
    activations: dict[str, float]
    gradients: dict[str, float]

    def first(self, kind: str) -> str | None:
        """The first name of `terms`, `activations` or `gradients` whose value is not finite."""
        values: Mapping[str, float] = getattr(self, kind)
        return next((name for name, value in values.items() if not _finite(value)), None)

    @property
    def finite(self) -> bool:
        """Loss and gradient."""
        return self.first("terms") is None and self.first("gradients") is None


def replay(source: Path, kind: type[NetworkModule[Any]], *, device: str | None = None) -> str:
    """Runs the step again, prints what is seen in it, and returns what that means.

    Args:
        source: a run's folder, or its `nonfinite.ckpt`.
        kind: the module of the program that wrote it.
        device: None takes a GPU where there is one.

    Raises:
        UserError: the file is missing, does not contain such a step, or was written by the other program.
    """
    file = source / NONFINITE if source.is_dir() else source
    if not file.is_file():
        raise UserError(f"'{file}' does not exist: a training writes it when it stops because a step is not finite")
    checkpoint = read_checkpoint(file)
    kept = checkpoint.get("nonfinite")
    if kept is None:
        raise UserError(f"'{file}' does not contain a step to run again: give the run's folder, or its {NONFINITE}")
    card = ModelCard.from_dict(checkpoint["model_card"])
    if card.part != kind.part:
        raise UserError(f"'{file}' is of a {card.part}: look at it with {_COMMANDS[card.part]} {source}")
    with trained_with(card.plugins):
        runs = {}
        for precision in dict.fromkeys((PLAIN, str(kept["precision"]))):
            # No average, which has no part in a step; and the hooks see nothing of a compiled network.
            plain = {key: value for key, value in _PLAIN.items() if key in checkpoint["hyper_parameters"]}
            module = kind(**{**checkpoint["hyper_parameters"], **plain})
            module.load_state_dict(checkpoint["state_dict"])
            runs[precision] = look(module, kept, precision, choose_device(device))
    say(kept["said"])
    for table in _tables(kept["terms"], runs):
        show(table)
    say("\n".join(facts(kept["batch"], card.ignore_index)))
    weights = {name: _largest(value) for name, value in checkpoint["state_dict"].items() if value.is_floating_point()}
    say("Largest weights: " + few([f"{name} {weights[name]:.3g}" for name in _top(weights)]))
    clipped = bool(checkpoint.get("settings", {}).get("trainer.gradient_clip_val"))
    return meaning(kept, runs, clipped=clipped)


def look(module: NetworkModule[Any], kept: Mapping[str, Any], precision: str, device: torch.device) -> Seen:
    """Forward and backward pass of the kept batch."""
    plugin = _plugin(precision, device)
    plugin.convert_module(module.to(device)).train()
    seen = Seen({}, {}, {})
    for name, part in module.network.named_modules():
        part.register_forward_hook(_watch(seen, name or "the whole network"))
    for name, parameter in module.network.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: seen.gradients.update({name: _largest_gradient(p.grad)})
        )
    moved = move_data_to_device(kept["batch"], device)
    with plugin.forward_context():
        terms = module.losses(module.batch_type(**moved), kept["seed"])
    seen.terms.update({name: float(value.detach()) for name, value in terms.items()})
    torch.stack(list(terms.values())).sum().backward()
    return seen


def _watch(seen: Seen, name: str) -> Any:
    def hook(part: nn.Module, inputs: Any, output: Any) -> None:
        # A part that runs twice counts with its worse pass.
        values = [_largest(value) for _, value in named_tensors(output) if value.is_floating_point()]
        for value in values:
            if name not in seen.activations or not _finite(value) or value > seen.activations[name]:
                seen.activations[name] = value

    return hook


def _plugin(precision: str, device: torch.device) -> Precision:
    if precision in ("16-mixed", "bf16-mixed"):
        return MixedPrecision(precision, device.type)  # type: ignore[arg-type]
    if precision in ("16-true", "bf16-true"):
        return HalfPrecision(precision)  # type: ignore[arg-type]
    return DoublePrecision() if precision == "64-true" else Precision()


def _tables(recorded: Mapping[str, float], runs: Mapping[str, Seen]) -> list[Table]:
    """Losses, activations and gradients, a column for each run; the first that is not finite, then the largest."""
    columns = [Column(precision, form="{:.4g}") for precision in runs]
    losses = [[name, value, *(seen.terms.get(name) for seen in runs.values())] for name, value in recorded.items()]
    tables = [
        Table("Loss, as weighted", [Column("term", left=True), Column("training", form="{:.4g}"), *columns], losses)
    ]
    last = list(runs.values())[-1]
    for title, kind in (("Largest activation", "activations"), ("Largest gradient", "gradients")):
        values: dict[str, float] = getattr(last, kind)
        rows = [[name, *(getattr(seen, kind).get(name) for seen in runs.values())] for name in _top(values)]
        tables.append(Table(title, [Column("layer", left=True), *columns], rows))
    return tables


def facts(batch: Mapping[str, Any], ignore_index: int) -> list[str]:
    """Sentences: the labels of a batch, and what is odd in its images."""
    names = [batch["name"]] if isinstance(batch.get("name"), str) else list(batch.get("name", ()))
    labels = torch.cat(batch["labels"]) if "labels" in batch else batch.get("mask", batch.get("label"))
    lines = [] if labels is None else [_labels(labels, ignore_index)]
    without_odd = len(lines)
    for place, image in enumerate(batch["image"]):
        name = names[place] if place < len(names) else f"image {place}"
        odd = []
        if not torch.isfinite(image.float()).all():
            odd.append("its pixels are not finite")
        elif image.min() == image.max():
            odd.append(f"every pixel is {float(image.max()):g}")
        if "mask" in batch and (batch["mask"][place] == ignore_index).all():
            odd.append("every label is ignored")
        lines += [f"Odd: {name}: {', '.join(odd)}"] * bool(odd)
    if len(lines) == without_odd:
        lines.append("Nothing is odd in the images: none is of one colour or without a label.")
    return lines


def _labels(labels: Tensor, ignore_index: int) -> str:
    values, counts = labels.unique(return_counts=True)
    shares = [
        f"{'ignored' if value in (ignore_index, -1) else int(value)} {count / labels.numel():.1%}"
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    ]
    return f"Labels: {few(shares, 12)}"


def meaning(kept: Mapping[str, Any], runs: Mapping[str, Seen], *, clipped: bool) -> str:
    """One conclusion from what was seen.

    Args:
        clipped: the training clips its gradients already.
    """
    precision, plain, last = str(kept["precision"]), runs[PLAIN], list(runs.values())[-1]
    if plain.finite and not last.finite:
        return (
            f"{_where(last)} only in {precision}; float32 is finite. {precision} is too narrow here: train with "
            "trainer.precision=bf16-mixed or 32-true."
        )
    if not plain.finite:
        layer, term, gradient = plain.first("activations"), plain.first("terms"), plain.first("gradients")
        largest = max(plain.activations, key=plain.activations.__getitem__)
        clip = "" if clipped else ", or set trainer.gradient_clip_val=1"
        grown = f"have grown too large: lower model.optim.lr{clip}"
        if layer is not None:
            why = f"its weights or inputs {grown}"
        elif plain.activations[largest] > _LARGE:
            why = f"the outputs of {largest}, up to {plain.activations[largest]:.2g}, {grown}"
        elif term is not None:
            why = "the network is finite, so look at that loss, model.loss and the labels above"
        else:
            why = f"first in {gradient}, as a root, logarithm or division at 0 makes it: look for one in the loss"
        return f"{_where(plain)}, in float32 too: {why}."
    if kept["cause"] == "update":
        rate, update = max(kept["rates"].values()), "Loss and gradient are finite, so it was the update"
        if precision in ("16-true", "bf16-true"):
            return (
                f"{update}: AdamW's moments do not fit {precision}. Train with trainer.precision=bf16-mixed or 32-true."
            )
        if rate >= 1:
            return f"{update}: a learning rate of {rate:.3g} is too large."
        return f"{update}, of what stands in the first line. The learning rate is {rate:.3g}."
    return (
        "Loss and gradient are finite here. It came from outside of network and loss (a callback, a loss of a --plugin "
        "that was not given again), or from another device or number of threads than this one."
    )


def _where(seen: Seen) -> str:
    layer, term = seen.first("activations"), seen.first("terms")
    if layer is not None:
        return f"The first output that is not finite is that of {layer}"
    return f"The loss '{term}' is not finite" if term is not None else "The gradient is not finite"


def _top(values: Mapping[str, float]) -> list[str]:
    """The first name whose value is not finite, then those of the largest values."""
    bad = [name for name, value in values.items() if not _finite(value)]
    good = sorted((name for name in values if name not in bad), key=lambda name: -values[name])
    return [*bad[:1], *good][:TOP]


def _largest(value: Tensor) -> float:
    return float(value.detach().abs().max()) if value.numel() else 0.0


def _largest_gradient(value: Tensor) -> float:
    """Infinite too where its square leaves float32, as `StepGuard` sees it."""
    return _largest(value) if norms([value])[0].isfinite() else float("inf")


def _finite(value: float) -> bool:
    return abs(value) < float("inf")
