"""The grammar of attention choices, and what building one refuses."""

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtseg.attention import AttentionSpec, create_attention, list_attentions, parse_attention
from rtseg.attention.build import resolve_attention
from rtseg.attention.grammar import parse_branch
from rtseg.attention.insertion import Inserted
from rtseg.attention.registry import Branch, get_mechanism
from rtseg.errors import UserError


def test_the_first_mechanisms_are_registered() -> None:
    assert {"ca", "gfa", "sa"} <= set(list_attentions())


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("sa", AttentionSpec("sa"), AttentionSpec("sa")),
        ("gfa+ca", AttentionSpec("gfa"), AttentionSpec("ca")),
        ("sa:reduction=1", AttentionSpec("sa", {"reduction": 1}), AttentionSpec("sa", {"reduction": 1})),
        (
            "gfa:groups=4+ca:cross_size=12",
            AttentionSpec("gfa", {"groups": 4}),
            AttentionSpec("ca", {"cross_size": 12}),
        ),
        ("gfa+sa:heads=1:reduction=2", AttentionSpec("gfa"), AttentionSpec("sa", {"heads": 1, "reduction": 2})),
    ],
)
def test_choices_are_taken_apart(text: str, low: AttentionSpec, high: AttentionSpec) -> None:
    assert parse_attention(text) == (low, high)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gafa+ca", r"unknown attention 'gafa'. Did you mean 'gfa'\? Known: .*ca.*gfa.*sa"),
        ("GFA", r"unknown attention 'GFA'. Did you mean 'gfa'\?"),
        ("gfa + ca", r"unknown attention 'gfa '. Did you mean 'gfa'\?"),
        ("", "attention '': write 'low[+]high', as in 'gfa[+]ca'"),
        ("gfa+", "attention 'gfa[+]': write 'low[+]high'"),
        ("gfa+ca+sa", "attention 'gfa[+]ca[+]sa': write 'low[+]high'"),
        ("ca", "'ca' reads the low-resolution branch, so it can stand only in the high one; write .* 'gfa[+]ca'"),
        ("ca+sa", "can stand only in the high one"),
        ("gfa:group=4", r"attention 'gfa' has no option 'group'. Did you mean 'groups'\? Known: groups."),
        ("sa:reduction", "'reduction' is not option=value, as in 'sa:heads=4'"),
        ("sa:reduction=", "'reduction=' is not option=value"),
        ("sa:", "'' is not option=value"),
        ("sa:heads=two", "attention 'sa': heads=two is not of type int"),
        ("sa:heads=2.0", "attention 'sa': heads=2.0 is not of type int"),
        ("sa:heads=2:heads=4", "option 'heads' is given twice; keep one"),
        ("gfa:stride=2", "attention 'gfa' has no option 'stride'"),
        (None, "attention 'None': write 'low[+]high'"),
        (3, "attention '3': write 'low[+]high'"),
        (["gfa", "ca"], "write 'low[+]high'"),
    ],
)
def test_bad_choices_get_the_repair(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_attention(text)


WORDS = st.sampled_from(["gfa", "sa", "ca", "groups", "heads", "reduction", *":=+18x ", "-1", "9" * 5000])


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.lists(WORDS, max_size=12).map("".join)))
@example("sa:heads=1_0")
@example("sa:heads=٣")
def test_any_text_gives_a_pair_of_choices_or_an_error_for_the_user(text: str) -> None:
    try:
        low, high = parse_attention(text)
    except UserError as error:
        message = str(error)
        assert "attention" in message
    else:
        assert {low.name, high.name} <= set(list_attentions())
        assert [low, high] == [parse_branch(part) for part in (text.split("+") * 2)[:2]]


@pytest.mark.parametrize(
    ("spec", "channels", "options", "message"),
    [
        ("sa:heads=3", 64, {}, r"'sa': heads=3 does not divide 64 channels; choose one of \[1, 2, 4, 8, 16, 32, 64\]"),
        ("sa:heads=0", 64, {}, "heads=0 does not divide 64 channels"),
        ("sa:heads=-2", 64, {}, "heads=-2 does not divide 64 channels"),
        ("sa:reduction=0", 64, {}, "attention 'sa': reduction=0 must be from 1 to 32"),
        ("gfa:groups=7", 64, {}, "attention 'gfa': groups=7 does not divide 64 channels"),
        ("gfa", 9, {}, r"groups=2 does not divide 9 channels; choose one of \[1, 3, 9\]"),
        ("ca:cross_size=0", 64, {"context_channels": 8}, "cross_size=0 must be from 1 to 256"),
        ("ca", 64, {}, "attention 'ca' reads another feature map: pass its channels as context_channels"),
        ("ca", 64, {"context_channels": 8, "branch": "low"}, "'ca' reads the low-resolution branch: it can stand only"),
        ("ca", 64, {"context_channels": 8, "stride": 2}, "'ca': it keeps width and resolution"),
        ("ca", 64, {"context_channels": 8, "out_channels": 32}, "'ca': it keeps width and resolution"),
        ("gfa", 64, {"branch": "middle"}, "branch 'middle': there are two, 'low' and 'high'"),
        ("gfa+ca", 64, {}, "unknown attention 'gfa[+]ca'"),
        ("gfa:norm=logs", 64, {}, r"'gfa': norm=logs is unknown. Did you mean 'log'\? Known: log, plain."),
        ("ca:scale=channels", 64, {"context_channels": 8}, "'ca': scale=channels is unknown. Known: dim, tokens."),
    ],
)
def test_attentions_that_cannot_be_built_are_refused(spec: str, channels: int, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_attention(spec, channels, **options)


OPTIONS = [(name, option) for name in list_attentions() for option in resolve_attention(f"gfa+{name}", {})[1].options]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
@pytest.mark.parametrize("value", ["two", "2.5e", "-1", "1000000", "9" * 30, "nan", "-inf"])
def test_no_option_of_any_mechanism_takes_what_makes_no_sense(name: str, option: str, value: str) -> None:
    """Least of all a number of which the memory would fill up before there were an error to show."""
    with pytest.raises(UserError, match=f"attention '{name}': {option}=") as error:
        create_attention(f"{name}:{option}={value}", 64, context_channels=64)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", list_attentions())
def test_every_mechanism_names_its_options_where_one_is_unknown(name: str) -> None:
    own = sorted(option for owner, option in OPTIONS if owner == name)
    with pytest.raises(UserError, match=f"attention '{name}' has no option 'depth'.*Known: {', '.join(own)}"):
        create_attention(f"{name}:depth=3", 64, context_channels=64)


@pytest.mark.parametrize(("branch", "heads", "reduction", "groups"), [("low", 8, 1, 8), ("high", 2, 4, 2)])
def test_defaults_are_those_of_the_branch_and_a_choice_overrides_them(
    branch: Branch, heads: int, reduction: int, groups: int
) -> None:
    sa: Any = create_attention("sa", 64, branch=branch)
    assert (sa.heads, sa.step) == (heads, reduction)
    gfa: Any = create_attention("gfa", 64, branch=branch)
    assert gfa.groups == groups
    chosen: Any = create_attention(AttentionSpec("gfa", {"groups": 16}), 64, branch=branch)
    assert chosen.groups == 16


def test_cross_resolution_attention_asks_for_its_context() -> None:
    attention = create_attention("ca", 8, context_channels=8)
    with pytest.raises(UserError, match=r"call it as attention\(x, context\)"):
        attention(torch.zeros(1, 8, 4, 4))


def wrong(data: st.DataObject, channels: int) -> torch.Tensor:
    """A map, or one without the axis of images, that does not have so many channels where they are looked for."""
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5).filter(lambda s: s[1:2] != [channels]))
    return torch.zeros(shape)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list_attentions()), st.integers(0, 1), st.data())
def test_a_map_of_other_channels_is_refused_by_every_attention(name: str, inserted: int, data: st.DataObject) -> None:
    if inserted and not get_mechanism(name).needs_context:
        layer: Any = Inserted([name], 8, "layer3")
        with pytest.raises(UserError, match=rf"^attention '{name}' at layer3 was built for 8 channels, and its input "):
            layer(wrong(data, 8))
        return
    attention = create_attention(name, 8, context_channels=16)
    x = wrong(data, 8)
    with pytest.raises(UserError, match="was built for 8 channels, and its input has the shape ") as error:
        attention(x, torch.zeros(1, 16, 2, 2))
    assert f"{tuple(x.shape)}: give (B, 8, H, W), or build it" in str(error.value)
    with pytest.raises(UserError, match=f"'{name}' was built for 16 channels, and its context has the shape "):
        attention(torch.zeros(1, 8, 2, 2), wrong(data, 16))


def test_what_is_written_down_has_no_check_of_channels() -> None:
    """A wrong map then meets PyTorch's own error."""
    layer, x = create_attention("fa", 8).eval(), torch.zeros(1, 6, 4, 4)
    with pytest.raises(RuntimeError, match="expected input"):
        torch.jit.trace(layer, x, check_trace=False)
