"""Networks that differ in their attention, side by side: `rtseg compare`, and with it RTFormer's Table 3."""

from rtseg.studies.compare.command import compare

__all__ = ["compare"]
