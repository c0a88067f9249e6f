"""Speed of networks and engines side by side: the command, its tables and its plot."""

from rtseg.studies.speed.command import run_benchmark

__all__ = ["run_benchmark"]
