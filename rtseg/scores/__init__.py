"""Scores of class maps against label masks: one table, whoever counted."""

from rtseg.scores.scores import ImageCounts, Scores

__all__ = ["ImageCounts", "Scores"]
