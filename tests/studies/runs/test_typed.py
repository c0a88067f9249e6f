"""What is known of attentions before torch is imported."""

import pytest

from rtseg.attention import list_attentions
from rtseg.errors import UserError
from rtseg.studies.runs.typed import attention_names, check_attention


def test_the_names_are_those_that_are_registered() -> None:
    assert sorted(attention_names()) == list_attentions()


def test_an_unknown_name_is_refused_unless_a_plug_in_may_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in ("gfa+ca", "fa:basis=64", "", "+"):  # what is wrong with the last two is said later
        check_attention(known, "")
    with pytest.raises(UserError, match=r"^--attention: unknown attention 'mine'\. .*Known: ca, ea, fa, "):
        check_attention("gfa+mine:depth=2", "--attention: ")
    monkeypatch.setenv("RTSEG_PLUGINS", "mine.py")
    check_attention("mine", "")
