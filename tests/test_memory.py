"""How much memory is left."""

from pathlib import Path

import pytest

from rtseg.memory import free_memory


def test_what_is_free() -> None:
    free = free_memory()
    assert free is not None
    assert 0 < free < 2**46


def test_files_that_a_container_has_read_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.memory.GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4500\n")
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 3500\nactive_file 1500\ninactive_file 1800\n")
    assert free_memory() == 500 + 3300
    (tmp_path / "memory.max").write_text("max\n")
    assert (free_memory() or 0) > 5000


def test_the_limit_of_an_older_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cgroup v1; its use has that of the groups below it, and so have the kinds that begin with "total_"."""
    monkeypatch.setattr("rtseg.memory.GROUP", tmp_path)
    group = tmp_path / "memory"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("5000\n")
    (group / "memory.usage_in_bytes").write_text("4500\n")
    kinds = "cache 0\nactive_file 0\ninactive_file 10\ntotal_cache 3500\ntotal_active_file 1500\n"
    (group / "memory.stat").write_text(f"{kinds}total_inactive_file 1800\n")
    assert free_memory() == 500 + 3300
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # none
    assert 5000 < (free_memory() or 0) < 2**46
