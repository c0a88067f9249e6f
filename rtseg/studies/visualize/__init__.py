"""`rtseg visualize`: the weights of every attention of a network, drawn over an image."""

from rtseg.studies.visualize.command import visualize

__all__ = ["visualize"]
