"""Tables of what is registered: `rtseg list KIND --details`, and the same tables in docs/."""

from rtseg.studies.listing.command import details, refresh

__all__ = ["details", "refresh"]
