"""Networks that differ in their attention, or in what is inserted into them: `rtseg compare`, and with it RTFormer's
Table 3.
"""

from rtseg.studies.compare.command import Plan, compare, compare_insertions

__all__ = ["Plan", "compare", "compare_insertions"]
