"""The networks and engines of a command, by name or file."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import torch

from rtseg.deploy.engines import FP32, parse_backend, reference_for, usual_backends
from rtseg.deploy.exports.read import FORMATS, read_graph
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from rtseg.models import create_model, list_models
from rtseg.models.backbone import NO_ATTENTION, choose_attention, is_model, list_families
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.registry import suggest
from rtseg.speed.candidate import Candidate, short_paths
from rtseg.speed.conditions import Conditions
from rtseg.speed.rivals import create_rival, list_rivals
from rtseg.terminal import Console


@dataclass(frozen=True)
class Asked:
    """Networks and engines, as a command names them.

    Attributes:
        networks: checkpoints, exported files, names of models and of rivals; rtformer_slim where there is none.
        attentions: of the models by name that have one; one network for each.
        backends: see `rtseg.deploy.engines`; all of `usual_backends` that can be had where there is none.
        num_classes: of the networks by name.
        command: as it was typed, for the report.
    """

    networks: Sequence[str] = ()
    attentions: Sequence[str] = ()
    backends: Sequence[str] = ()
    num_classes: int = 150
    command: str | None = None

    def candidates(self, conditions: Conditions) -> list[Candidate]:
        """The networks. Those by name have the weights of the conditions' seed.

        Raises:
            UserError: an unknown name, a bad file or number.
        """
        names = self._names() or ["rtformer_slim"]
        if self.attentions and not any(map(_has_attention, names)):
            names.append("rtformer_slim")
        with conditions.seeded():
            found = [(name, candidate) for name in names for candidate in self._candidates(name)]
        files = short_paths([name for name, candidate in found if candidate.trained])
        return [replace(one, file=files.pop(0)) if one.trained else one for _, one in found]

    def _names(self) -> list[str]:
        """The networks, each once: a file by whatever path it is given."""
        return list({os.path.realpath(name) if Path(name).exists() else name: name for name in self.networks}.values())

    def own_shapes(self) -> tuple[list[tuple[int, int]], list[int]]:
        """Default sizes and batches: those of the exported files; 512x512 and 1 without any, and where these are open.

        Raises:
            UserError: a bad file.
        """
        shapes = [self._graphs(name).shape for name in self.networks if _is_export(name)]
        sizes = list(dict.fromkeys((height or 512, width or 512) for _, height, width in shapes))
        return sizes or [(512, 512)], list(dict.fromkeys(batch or 1 for batch, _, _ in shapes)) or [1]

    @cached_property  # each file is read once
    def _graphs(self) -> Callable[[str], Graph]:
        return cache(read_graph)

    def _candidates(self, name: str) -> list[Candidate]:
        if is_model(name):
            chosen = dict.fromkeys(self.attentions) if _has_attention(name) else ()
            return [
                Candidate(create_model(name, self.num_classes, attention=attention)) for attention in chosen or [None]
            ]
        if name in list_rivals():
            return [Candidate(create_rival(name, self.num_classes))]
        if _is_export(name):
            graph = self._graphs(name)
            return [Candidate(graph, graph.weights, trained=True)]
        return [_checkpoint(name)]

    def engines(self, candidates: Sequence[Candidate], device: torch.device, console: Console) -> list[str]:
        """The backends for these networks. The console says why a usual one that runs any of them is missing here.

        Raises:
            UserError: there are only exported files, and no engine that reads one is installed.
        """
        if self.backends:
            return list(self.backends)
        found = []
        for backend in usual_backends(device):
            kind, precision = parse_backend(backend)
            if not any(kind.runs(candidate.network) for candidate in candidates):
                continue
            try:
                kind.check(precision, device)
            except UserError as error:
                console.print(f"without {backend}: {error}", soft_wrap=True)
            else:
                found.append(backend)
        if not found:
            parse_backend(reference_for(candidates[0].network))[0].check(FP32.name, device)  # says what to install
        return found


def _is_export(name: str) -> bool:
    return Path(name).suffix.lower() in FORMATS


def _has_attention(name: str) -> bool:
    return is_model(name) and choose_attention(name, None) != NO_ATTENTION


def _checkpoint(name: str) -> Candidate:
    try:
        segmenter = Segmenter.from_pretrained(name)
    except UserError as error:
        if Path(name).exists() or "/" in name:
            raise
        known = suggest(name, [*list_models(), *list_families(), *list_rivals()])
        raise UserError(f"'{name}' is not a checkpoint, exported file, model or rival.{known} ({error})") from None
    return Candidate(segmenter, weights_hash(segmenter), trained=True)
