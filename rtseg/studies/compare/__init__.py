"""Networks that differ in their attention, or in what is inserted into them: `rtseg compare`, and with it RTFormer's
Table 3 and the tables of the first paper on factorized attention.
"""

from rtseg.studies.compare.carry_out import Plan
from rtseg.studies.compare.command import compare
from rtseg.studies.compare.insertion_command import compare_counted, compare_insertions

__all__ = ["Plan", "compare", "compare_counted", "compare_insertions"]
