"""One HTML page of a training, complete in itself: `write_report`."""

from rtseg.studies.report.command import write_report

__all__ = ["write_report"]
