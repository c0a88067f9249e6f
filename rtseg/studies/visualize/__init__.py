"""What attention looks at: the maps of every attention of a network, drawn over a picture: `rtseg visualize`."""

from rtseg.studies.visualize.command import visualize

__all__ = ["visualize"]
