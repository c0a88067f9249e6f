"""What an attention costs at each place of a network: Table 1 of the first paper, without its scores."""

from rtseg.studies.places.cost import PlaceCost, measure_places
from rtseg.studies.places.report import cost_table

__all__ = ["PlaceCost", "cost_table", "measure_places"]
