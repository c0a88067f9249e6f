"""A large image in bands of rows: what is done to a band stays in the cache, and is no copy of the whole image."""

from collections.abc import Iterator

PIXELS = 2**18


def bands(height: int, width: int) -> Iterator[slice]:
    """The rows of an image from the top; each slice has at most 262,144 pixels, or is one row."""
    step = max(1, PIXELS // max(1, width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
