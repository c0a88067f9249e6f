"""What is wrong with a data set: one kind of fault a file, each a function of what was seen in the files."""

from rtseg.data.findings.finding import Finding, Severity

__all__ = ["Finding", "Severity"]
