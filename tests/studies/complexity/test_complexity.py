"""The first paper's tables, figures and quoted numbers; the numbers here are worked out apart from the modules."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.errors import UserError
from rtseg.speed.conditions import Conditions
from rtseg.speed.growth import count_floats, fit_power
from rtseg.studies.complexity import complexity_report
from rtseg.studies.complexity.figures import BERTS, dot_product, figure4, figure5, quotes, transformer
from rtseg.studies.complexity.growth import measure_growth
from rtseg.studies.complexity.report import report_tables
from rtseg.studies.complexity.tables import PAPER, SLIPS, Sizes, cost, table, table12
from tests.helpers.tables import check_whole

SIZES = Sizes(c=64, b=32, m=32, h=8, s=64 * 64)
DOT = "kind=dot:heads=1:values=none"

QUICK = Conditions(device="cpu", seconds=0.001, rounds=5, warmup_seconds=0.001)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("complexity") / "new"
    return complexity_report(folder), folder


# --- tables

# MACs, factored out by hand; c = 64.
MACS: dict[tuple[int, str], Callable[[int, int, int], float]] = {
    (9, "ResBlock"): lambda c, h, s: 18 * c * c * s,
    (10, "ResBlock-bot"): lambda c, h, s: 13 / 4 * c * c * s,
    (10, "FA-dot"): lambda c, h, s: 3 * c * c * s,
    (10, "CA-dot"): lambda c, h, s: 2 * c * c * s + 3 / 2 * c * s * s,
    (10, "FA-bot"): lambda c, h, s: 5 / 2 * c * c * s,
    (10, "CA-bot"): lambda c, h, s: 2 * c * c * s + c * s * s,
    (10, "FA-multi"): lambda c, h, s: (2 * c * c + c * c / (2 * h)) * s,
    (10, "CA-multi"): lambda c, h, s: 2 * c * c * s + c * s * s,
    (11, "FA-multi"): lambda c, h, s: (c * c + c * c / (8 * h)) * s,
    (11, "CA-multi"): lambda c, h, s: c * c * s + c / 2 * s * s,
    (11, "FA-Tfm"): lambda c, h, s: (c * c + c * c / (8 * h) + 2 * c * c) * s,
    (11, "CA-Tfm"): lambda c, h, s: 3 * c * c * s + c / 2 * s * s,
}


@pytest.mark.parametrize(("number", "module"), MACS)
@pytest.mark.parametrize(("h", "s"), [(1, 100), (4, 1024), (8, 4096)])
def test_multiply_adds_of_the_tables(number: int, module: str, h: int, s: int) -> None:
    row = next(r for r in table(number, replace(SIZES, h=h, s=s)) if r["module"] == module)
    assert row["macs"] == MACS[number, module](64, h, s)


@pytest.mark.parametrize("number", [9, 10, 11])
@pytest.mark.parametrize(
    "sizes", [SIZES, replace(SIZES, h=4, s=77), Sizes(48, 24, 12, 4, 50), Sizes(96, 24, 72, 12, 1000)]
)
def test_printed_memory_is_right_everywhere(number: int, sizes: Sizes) -> None:
    for row in table(number, sizes):
        assert row["floats"] == row["paper_floats"], row["module"]


@pytest.mark.parametrize("number", [9, 10, 11])
@pytest.mark.parametrize("sizes", [SIZES, replace(SIZES, h=4, s=77), Sizes(96, 24, 24, 6, 1000)])
def test_printed_compute_is_twice_the_multiply_adds_but_for_the_slips_named(number: int, sizes: Sizes) -> None:
    for row in table(number, sizes):
        twice = row["macc_per_mac"] == pytest.approx(2, rel=1e-12)
        assert twice == (row["slip"] is None), row["module"]


def test_slips_are_those_of_rows_that_exist() -> None:
    assert all(module in PAPER[number] for number, module in SLIPS)


def test_table_10_and_11_print_table_9_at_their_widths() -> None:
    """Also the numbers: at b = k = m = c / 2 and c / 4 the printed formulas agree, but for the misprints named."""
    for number in (10, 11):
        narrow = 64 // {10: 2, 11: 4}[number]
        at_nine = {row["module"]: row for row in table(9, replace(SIZES, b=narrow, m=narrow))}
        for row in table(number, SIZES):
            same = row["paper_macc"] == pytest.approx(at_nine[row["module"]]["paper_macc"])
            assert same == (row["module"] != "CA-multi"), (number, row["module"])


def test_table_12() -> None:
    rows = table12(SIZES)
    assert len(rows) == 10
    for row in rows:
        order = "O(s²)" if row["module"].startswith("CA") else "O(s)"
        assert (row["memory"], row["compute"]) == (order, order)


def test_resblocks_are_what_a_profiler_counts() -> None:
    c, m = 16, 6
    plain = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(c, c, 3, 1, 1, bias=False))
    narrow = nn.Sequential(
        nn.Conv2d(c, m, 1, bias=False), nn.ReLU(),
        nn.Conv2d(m, m, 3, 1, 1, bias=False), nn.ReLU(),
        nn.Conv2d(m, c, 1, bias=False),
    )  # fmt: skip
    x = torch.randn(1, c, 5, 7)
    for module, branch in (("ResBlock", plain), ("ResBlock-bot", narrow)):

        def block(branch: nn.Module = branch) -> Tensor:
            return (x + branch(x)).relu()

        with FlopCounterMode(display=False) as counter:
            block()
        assert cost(module, Sizes(c, m, m, 1, 35)) == (count_floats(block), counter.get_total_flops() // 2)


# --- figures and quotes; two units, never mixed: MACs, and the paper's own MACC


@pytest.mark.parametrize(
    ("s", "times_memory", "times_macs", "tolerance"),
    [(64 * 64, 16.97, 32.67, 5e-3), (64 * 64 * 32, 512.97, 1024.67, 2e-3)],
)
def test_savings_of_the_text(s: int, times_memory: float, times_macs: float, tolerance: float) -> None:
    conventional, factorized = dot_product("CA-dot", s), dot_product("FA-dot", s)
    assert conventional[0] / factorized[0] == pytest.approx(times_memory, rel=tolerance)
    assert conventional[1] / factorized[1] == pytest.approx(times_macs, rel=tolerance)


def test_compute_saved_at_64x64_by_either_count() -> None:
    conventional, factorized = dot_product("CA-dot", 64 * 64), dot_product("FA-dot", 64 * 64)
    assert 32.3 <= conventional[2] / factorized[2] <= conventional[1] / factorized[1] <= 32.7


@pytest.mark.parametrize(
    ("s", "gigabytes", "gmacs"),
    [(64 * 64, 0.071303, 1.644), (128 * 128, 1.0905, 25.90), (256 * 256, 17.247, 412.85), (64 * 64 * 32, 68.85, 1650)],
)
def test_conventional_attention_in_multiply_adds(s: int, gigabytes: float, gmacs: float) -> None:
    memory, macs, _ = dot_product("CA-dot", s)
    assert memory / 1e9 == pytest.approx(gigabytes, rel=5e-3)
    assert macs / 1e9 == pytest.approx(gmacs, rel=5e-3)


@pytest.mark.parametrize(("s", "gmacc"), [(128 * 128, 51.67), (256 * 256, 825.2), (64 * 64 * 32, 3299.6)])
def test_conventional_attention_by_the_printed_formula(s: int, gmacc: float) -> None:
    assert dot_product("CA-dot", s)[2] / 1e9 == pytest.approx(gmacc, rel=5e-3)


def test_factorized_at_256_takes_less_than_conventional_at_64() -> None:
    factorized, conventional = dot_product("FA-dot", 256 * 256), dot_product("CA-dot", 64 * 64)
    assert factorized[0] == pytest.approx(67.1e6, rel=5e-3)
    assert factorized[1] == pytest.approx(0.805e9, rel=5e-3)
    assert factorized[0] < conventional[0]
    assert factorized[1] < conventional[1]


@pytest.mark.parametrize(("channels", "memory", "macc"), [(1024, 1.70, 1.86), (512, 2.48, 3.40)])
def test_res3_of_the_video_network(channels: int, memory: float, macc: float) -> None:
    pair = dot_product("CA-dot", 28 * 28 * 4, channels), dot_product("FA-dot", 28 * 28 * 4, channels)
    assert pair[0][0] / pair[1][0] == pytest.approx(memory, rel=5e-3)
    assert pair[0][2] / pair[1][2] == pytest.approx(macc, rel=5e-3)


def test_quotes_hold_but_for_the_one_that_does_not() -> None:
    failing = [quote for quote in quotes() if not quote.holds]
    assert [(quote.what, quote.paper) for quote in failing] == [("64x64x32: memory, conventional / factorized", "32")]
    assert failing[0].computed == pytest.approx(512.97, rel=1e-4)
    assert "c = 1024 gives 32.97, but then 64.7" in failing[0].note
    units = {quote.what: quote.unit for quote in quotes()}
    assert units["128x128: compute, conventional"] == "GMACC"
    assert units["256x256: compute, conventional"] == "GMAC"


@pytest.mark.parametrize(("index", "f", "saved"), [(0, 1, 19.1), (0, 4, 16.6), (1, 1, 17.5)])
def test_memory_that_a_factorized_bert_saves(index: int, f: int, saved: float) -> None:
    pair = [transformer(module, BERTS[index], 512, f) for module in ("CA-Tfm", "FA-Tfm")]
    assert 100 * (1 - pair[1]["bytes"] / pair[0]["bytes"]) == pytest.approx(saved, abs=0.1)
    if (index, f) == (0, 1):
        assert 1 - pair[1]["activation_bytes"] / pair[0]["activation_bytes"] == pytest.approx(0.438, abs=1e-3)


@pytest.mark.parametrize(("f", "gigabytes", "gmacs"), [(1, (41.7, 3.02), (1585, 358)), (4, (43.5, 4.83), (1933, 705))])
def test_bert_of_8192_tokens(f: int, gigabytes: tuple[float, float], gmacs: tuple[float, float]) -> None:
    for module, gb, gmac in zip(("CA-Tfm", "FA-Tfm"), gigabytes, gmacs, strict=True):
        point = transformer(module, BERTS[0], 8192, f)
        assert point["activation_bytes"] / 1e9 == pytest.approx(gb, rel=2e-3)
        assert point["macs"] / 1e9 == pytest.approx(gmac, rel=2e-3)


def test_figures_hold_every_point_once() -> None:
    four, five = figure4(), figure5()
    assert len({(p["module"], p["side"]) for p in four}) == len(four) == 10
    assert len({(p["model"], p["f"], p["module"], p["length"]) for p in five}) == len(five) == 2 * 2 * 2 * 7


# --- growth, measured


def test_numbers_written_grow_linearly_and_quadratically() -> None:
    """Counted while the attentions run, so it is the code that is held to the claim and not its closed form."""
    sides = {f"fa:{DOT}": (16, 24, 40), f"nl:{DOT}": (16, 24, 40), "fa": (16, 24, 40)}
    dot, conventional, gauss = measure_growth(
        sides, Conditions(device="cpu", seconds=0.001, rounds=5, warmup_seconds=0.001), channels=4
    )
    assert dot.memory_exponent == pytest.approx(1, abs=0.01)
    assert gauss.memory_exponent == pytest.approx(1, abs=0.01)
    assert conventional.memory_exponent == pytest.approx(2, abs=0.05)
    assert conventional.tokens == (256, 576, 1600)
    assert conventional.floats == tuple(s * s + (2 * 2 + 2 * 4) * s for s in conventional.tokens)
    assert all(time > 0 for growth in (dot, conventional, gauss) for time in growth.median_ms)


def test_powers_are_fitted_through_the_logarithms() -> None:
    assert fit_power([1, 10, 100], [3, 30, 300]) == pytest.approx(1)
    assert fit_power([2, 4, 8], [5, 20, 80]) == pytest.approx(2)


@pytest.mark.parametrize("sides", [(64,), (64, 64), (0, 64)])
def test_too_few_sides_are_refused(sides: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="'fa': a power needs two different ones, each at least 1"):
        measure_growth({"fa": sides}, Conditions(device="cpu"))


# --- the command


def test_the_report_is_written_and_names_every_slip(
    report: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    result, folder = report
    assert json.loads((folder / "complexity.json").read_text()) == result
    complexity_report()
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("mixed units", "8.79", "misprint of", "off by c²s", "513 times NO", "825.2 GMACC", "19.06 %"):
        assert words in printed, words
    for title in ("Table 9", "Table 10", "Table 11", "Table 12", "Figure 4", "Figure 5"):
        assert title in printed


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(report: tuple[dict[str, Any], Path], width: int) -> None:
    for found in report_tables(report[0]):
        check_whole(found, width)


def test_the_plot_is_an_svg_with_a_line_for_each_series(report: tuple[dict[str, Any], Path]) -> None:
    root = ElementTree.parse(report[1] / "complexity.svg").getroot()
    lines = root.findall(".//{*}polyline")
    assert len(lines) == 2 + 2 + 4 + 4
    left, _, width, height = map(float, root.attrib["viewBox"].split())
    for line in lines:
        for x, y in (map(float, point.split(",")) for point in line.attrib["points"].split()):
            assert left <= x <= width
            assert 0 <= y <= height


def test_measuring_is_part_of_the_report(tmp_path: Path) -> None:
    sides = {f"nl:{DOT}": (4, 8), f"fa:{DOT}": (4, 8), "fa:kind=dot": (4, 8)}
    result = complexity_report(tmp_path, measure=QUICK, sides=sides)
    assert [growth["attention"] for growth in result["measured"]["growth"]] == list(sides)
    assert result["measured"]["device"]["name"]
    root = ElementTree.parse(tmp_path / "complexity.svg").getroot()
    assert len(root.findall(".//{*}polyline")) == 12 + 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 60}, "channels 60 with 8 heads: .* multiple of 32 channels, or fewer heads"),
        ({"channels": 0}, "channels 0 with 8 heads"),
        ({"heads": 0}, "channels 64 with 0 heads: .* multiple of 4 channels"),
        ({"size": (0, 64)}, "size 0 64: height and width must be at least 1"),
    ],
)
def test_bad_input_gets_the_repair(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        complexity_report(**options)


def test_a_folder_with_results_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "complexity.json").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty, it holds complexity\.json; give another folder"):
        complexity_report(tmp_path)
    assert (tmp_path / "complexity.json").read_text() == "mine"
