"""What is wrong with a data set, before a training starts: `check_data`."""

from rtseg.studies.check_data.command import Counts, Outputs, check_data

__all__ = ["Counts", "Outputs", "check_data"]
