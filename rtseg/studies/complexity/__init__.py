"""What self-attention costs, computed from the first paper's formulas and measured: `rtseg complexity`."""

from rtseg.studies.complexity.command import complexity_report

__all__ = ["complexity_report"]
