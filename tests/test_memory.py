"""How much memory is left."""

from rtseg.memory import free_memory


def test_what_is_free() -> None:
    free = free_memory()
    assert free is not None
    assert 0 < free < 2**46
