"""Street scenes drawn by a program, with exact masks: data for tests and for `make demo` that needs no download."""

from rtseg.scenes.layouts import make_data
from rtseg.scenes.scene import CLASSES, draw_scene

__all__ = ["CLASSES", "draw_scene", "make_data"]
