"""The engine that a user asks for, checked before anything is built."""

import os

import torch

from rtseg.deploy.choice import exact_engines
from rtseg.deploy.engines import FP32, Engine, list_backends, parse_backend
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from rtseg.models.network import Network
from rtseg.registry import UnknownNameError, suggest

AUTO, USUAL = "auto", "RTSEG_ENGINE"  # the environment variable that says what "auto" is


def asked_engine(engine: str, source: Network | Graph, device: torch.device) -> str:
    """The name of the engine; for "auto" the one that the environment names, if it runs this.

    Raises:
        UserError: it is unknown or not installed, or does not run this; or no engine here runs an exported file.
    """
    if engine != AUTO:
        _check(engine, source, device)
        return engine
    if isinstance(source, Graph):
        for name in exact_engines(source, device):  # one that is not installed, where there is no other
            parse_backend(name)[0].check(FP32.name, device)
    usual = os.environ.get(USUAL) or AUTO
    if usual == AUTO:
        return AUTO
    try:
        if not _parsed(usual)[0].runs(source):
            return AUTO
        _check(usual, source, device)
    except UserError as error:
        raise UserError(f"the environment variable {USUAL}: {error}") from None
    return usual


def _check(engine: str, source: Network | Graph, device: torch.device) -> None:
    kind, precision = _parsed(engine)
    kind.check(precision, device)
    if isinstance(source, Graph) and not kind.runs(source):
        runs = ", ".join([AUTO, *exact_engines(source, device)])
        raise UserError(f"engine '{engine}' does not run {source.name}: choose {runs}, or give its checkpoint")
    if kind.precisions[precision].calibrated and isinstance(source, Network):
        raise UserError(
            f"engine '{engine}' takes its ranges from images: `rtseg export --int8 --data DIR` makes a file that "
            "holds them; load that file"
        )


def _parsed(engine: str) -> tuple[type[Engine], str]:
    """See `parse_backend`; here "auto" is one of the names."""
    if not isinstance(engine, str):
        raise UserError(f"engine {engine!r} is not a name: give '{AUTO}', or one of `rtseg list backends`")
    try:
        return parse_backend(engine)
    except UnknownNameError as error:
        known = suggest(engine.partition(":")[0], [AUTO, *list_backends()])
        raise UnknownNameError(error.unknown, f".{known}") from None
