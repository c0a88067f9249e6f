"""Class maps for the eye and as files: colours, overlays with their legend, PNG."""
