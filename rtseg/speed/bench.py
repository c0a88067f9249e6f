"""What the rows of a report share: images, references, facts of networks, ceilings of the device."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.engines import Engine, Shape, create_engine, reference_for
from rtseg.deploy.graph import Graph
from rtseg.speed.candidate import Candidate, Case, files
from rtseg.speed.conditions import Conditions
from rtseg.speed.cost import Ceilings, measure_ceilings
from rtseg.speed.images import Images


class Bench:
    """What rows share. Each thing is made once, when a row first asks for it.

    Args:
        cases: all of them: an exported file is compared with the network that it was made of, where that is among them.
        dataset: to score trained networks on.
        memory: whether to measure what rows on a CPU hold.
        building: is called with the name of what is built and checked next.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        conditions: Conditions,
        images: Images,
        *,
        dataset: SegmentationDataset | None,
        memory: bool,
        building: Callable[[str], None],
    ) -> None:
        self._originals = {
            case.candidate.weights: case.candidate.network
            for case in cases
            if case.candidate.trained and not isinstance(case.candidate.network, Graph)
        }
        self.files = files(case.candidate for case in cases)
        self.conditions = conditions
        self.device = conditions.where
        self.images = images
        self.dataset = dataset
        self.memory = memory
        self.building = building
        self._facts: dict[tuple[Any, ...], Any] = {}
        self._ceilings: dict[torch.dtype, Ceilings] = {}
        self._references: dict[tuple[int, Shape], Engine] = {}

    def once(self, function: Callable[..., Any], candidate: Candidate, *arguments: Any) -> Any:
        """function(network, *arguments), called once for each network and arguments."""
        key = (function, id(candidate), arguments)
        if key not in self._facts:
            self._facts[key] = function(candidate.network, *arguments)
        return self._facts[key]

    def ceilings(self, dtype: torch.dtype) -> Ceilings:
        """The device's ceilings, measured once."""
        if dtype not in self._ceilings:
            self._ceilings[dtype] = measure_ceilings(self.device, dtype)
        return self._ceilings[dtype]

    def reference(self, case: Case) -> Engine:
        """Plain PyTorch; for an exported file without its checkpoint, an engine that reads it in float32."""
        key = (id(case.candidate), case.shape)
        if key not in self._references:
            network = self._originals.get(case.candidate.weights, case.candidate.network)
            self._references[key] = create_engine(reference_for(network), network, case.shape, device=self.device)
        return self._references[key]
