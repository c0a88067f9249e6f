"""What is drawn is what the network computed, for every mechanism and any picture; and what the command refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import rtseg
from rtseg.attention import list_attentions
from rtseg.attention.base import Attention
from rtseg.attention.non_local import NonLocalAttention
from rtseg.cli import main
from rtseg.deploy.fuse import DeployedSegmenter, deploy
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.studies.visualize import visualize
from rtseg.studies.visualize.maps import AttentionMaps, Point, attention_maps, cell_of
from rtseg.studies.visualize.sheet import MOST, PANEL, choose, colors, draw

PAIRS = ["gfa+ca", *(f"{name}+{name}" for name in list_attentions() if name != "ca")]


def create(attention: str, std: float = 0.3) -> Segmenter:
    """Tiny, with attention whose parameters have this spread: the initial ones would give flat maps."""
    segmenter = rtseg.create_model(
        "rtformer_slim", 3, attention=attention, base_channels=8, head_channels=8, spp_channels=8, cross_size=2
    )
    for module in segmenter.modules():
        if isinstance(module, Attention):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=std)
    return segmenter.eval()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(*args: str | Path) -> int:
    """Exit status of the command, on the CPU."""
    try:
        main(["visualize", *map(str, args), "--device", "cpu"])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a network with this attention."""
    folder = tmp_path_factory.mktemp("trained")

    def make(attention: str) -> Path:
        if not (folder / attention).exists():
            create(attention).save_pretrained(folder / attention)
        return folder / attention

    return make


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A picture of 61 x 37 pixels."""
    path = tmp_path / "street.png"
    Image.fromarray(picture(37, 61)).save(path)
    return path


# --- every mechanism, any picture


# Of one pixel and of long pictures those whose maps are of other shapes than the picture's grid.
@pytest.mark.parametrize(
    ("pair", "size"),
    [
        *((pair, (37, 61)) for pair in PAIRS),
        *((pair, size) for pair in ("gfa+ca", "na+na", "la+la") for size in ((1, 1), (3, 400))),
    ],
)
def test_every_attention_of_every_network_is_drawn(
    pair: str, size: tuple[int, int], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    Image.fromarray(picture(*size)).save(tmp_path / "picture.png")
    files = visualize(trained(pair), tmp_path / "picture.png", tmp_path / "out", device="cpu")
    low, high = pair.split("+")
    names = [f"block{n}_{branch}.jpg" for n in (4, 5) for branch in (f"low_{low}", f"high_{high}")]
    assert [file.name for file in files] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*names, "sheets.json"])
    for file in files:
        with Image.open(file) as sheet:
            assert np.asarray(sheet).std() > 10
            assert max(sheet.size) <= 4 * PANEL + 100


@pytest.mark.parametrize("pair", PAIRS)
def test_the_maps_have_the_size_of_the_grid_and_belong_to_the_pixel_or_to_all(pair: str) -> None:
    looks = attention_maps(deploy(create(pair)), picture(64, 96), Point(95, 0))
    assert len(looks) == 4
    for found in looks:
        mechanism = found.name.split("_")[2]
        rows, columns = (2, 3) if "low" in found.name else (8, 12)
        assert found.size == (rows, columns)
        assert len(found.titles) == len(found.maps) == len(set(found.titles))
        if mechanism in ("fa", "gfa", "ea"):
            assert found.position is None
            assert found.maps.shape[1:] == (rows, columns)
        else:
            assert found.position == (0, columns - 1)
            assert len(found.maps) == (1 if mechanism == "ca" else 8 if "low" in found.name else 2)
        if mechanism in ("sa", "ca", "nl"):  # an average of the values: for `sa`, of cells of one size here
            np.testing.assert_allclose(found.maps.sum((1, 2)), found.maps[0].size / keys(mechanism, found), rtol=1e-4)


def keys(mechanism: str, found: AttentionMaps) -> int:
    """Of how many keys the drawn cells are; `sa` reduces by 4 in the high branch, where its cells are drawn whole."""
    return found.maps[0].size // (16 if mechanism == "sa" and "high" in found.name else 1)


# --- the forward pass


def outputs_and_maps(
    network: DeployedSegmenter, pixels: np.ndarray, point: Point
) -> list[tuple[Any, Tensor, AttentionMaps]]:
    """Each attention, its output in the very pass that the maps were caught in, and its maps."""
    found: list[tuple[nn.Module, Tensor]] = []
    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda module, _, output: found.append((module, output)))
    looks = attention_maps(network, pixels, point)
    return [(module, output, seen) for (module, output), seen in zip(found, looks, strict=True)]


def test_the_values_of_the_drawn_slots_are_the_output() -> None:
    for attention, output, found in outputs_and_maps(deploy(create("gfa+gfa")), picture(70, 90), Point(0, 0)):
        again = attention.values(torch.from_numpy(found.maps)[None])
        assert output.std() > 0.01
        torch.testing.assert_close(again, output, rtol=1e-4, atol=1e-5)


def test_the_row_of_the_drawn_pixel_gives_its_output() -> None:
    seen: list[Tensor] = []
    network, point = deploy(create("gfa+nl", std=0.01)), Point(66, 25)
    for module in network.modules():
        if isinstance(module, NonLocalAttention):
            module.register_forward_hook(lambda module, inputs, _: seen.append(module.values(inputs[0])))
    for attention, output, found in outputs_and_maps(network, picture(64, 96), point):
        if "nl" in found.name:
            assert found.position == (25 // 8, 66 // 8)
            values = seen.pop(0)[0].unflatten(0, (2, -1))
            y = torch.einsum("hyx,hcyx->hc", torch.from_numpy(found.maps), values).flatten()
            expected = output[0, :, 25 // 8, 66 // 8]
            torch.testing.assert_close(attention.project(y[None, :, None, None]).flatten(), expected)
            assert (output[0, :, 0, 0] - expected).abs().max() > 0.01 * expected.abs().max()
    assert not seen


def test_basis_masks_are_those_of_the_pass_and_sum_to_one() -> None:
    for attention, output, found in outputs_and_maps(deploy(create("fa+fa")), picture(64, 96), Point(0, 0)):
        assert found.maps.shape == (attention.widths[1], *output.shape[2:])
        np.testing.assert_allclose(found.maps.sum((1, 2)), 1, rtol=1e-4)


def test_cells_of_a_reduction_lie_where_they_were_computed() -> None:
    """5 x 9 positions in cells of 4 x 4: the last row of cells and the last column are one position wide."""
    high = attention_maps(deploy(create("gfa+sa:reduction=4")), picture(40, 72), Point(0, 0))[1].maps
    assert high.shape == (2, 5, 9)
    cells = np.split(high, [4], 1)
    assert all(np.ptp(part, (1, 2)).max() == 0 for rows in cells for part in np.split(rows, [4, 8], 2))
    assert len(np.unique(high[0])) == 6


def test_no_more_than_one_row_is_asked_of_a_map_between_places(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int | None] = []
    whole = NonLocalAttention.attention_map

    def note(self: Any, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> Any:
        rows.append(at)
        return whole(self, x, context, at=at)

    monkeypatch.setattr(NonLocalAttention, "attention_map", note)
    attention_maps(deploy(create("nl+nl")), picture(64, 96), Point(95, 63))
    assert rows == [5, 95, 5, 95]


def test_a_network_that_diverged_is_refused() -> None:
    segmenter = create("gfa+ca")
    nn.init.constant_(next(segmenter.parameters()), float("nan"))
    with pytest.raises(UserError, match="block4_low_gfa are not finite: this training diverged"):
        attention_maps(deploy(segmenter), picture(32, 32), Point(0, 0))


# --- the pixel


@given(st.integers(1, 5000), st.integers(1, 5000), st.data())
def test_every_pixel_has_a_cell_and_the_cells_divide_the_picture(height: int, width: int, data: st.DataObject) -> None:
    stride = data.draw(st.sampled_from([8, 32]))
    size = -(-height // stride), -(-width // stride)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    row, column = cell_of(Point(x, y), (height, width), size)
    assert row * height / size[0] <= y + 0.5 <= (row + 1) * height / size[0]
    assert column * width / size[1] <= x + 0.5 <= (column + 1) * width / size[1]
    assert cell_of(Point(0, 0), (height, width), size) == (0, 0)
    assert cell_of(Point(width - 1, height - 1), (height, width), size) == (size[0] - 1, size[1] - 1)
    if height % stride == 0:
        assert row == y // stride


# --- the sheet


def test_colours_run_from_dark_to_bright_and_signed_ones_from_blue_over_white_to_red() -> None:
    plain = colors(np.array([[0.2, 0.3, 0.4, 0.5, 0.6]]), signed=False)[0].astype(int)
    assert (np.diff(plain @ (0.299, 0.587, 0.114)) > 15).all()
    negative, zero, positive = colors(np.array([[-0.1, 0, 0.4]]), signed=True)[0].astype(int)
    assert zero.tolist() == [255, 255, 255]
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    assert negative.sum() > positive.sum()  # to one scale: a quarter of the magnitude is paler


@pytest.mark.parametrize("signed", [False, True])
def test_equal_weights_show_no_pattern(signed: bool) -> None:
    values = np.full((3, 4), 1 / 12, np.float32) * (1 + 1e-7 * np.arange(12, dtype=np.float32).reshape(3, 4))
    assert len(np.unique(colors(values, signed=signed).reshape(-1, 3), axis=0)) == 1


def test_nothing_is_white_where_white_is_zero() -> None:
    zero = colors(np.array([[-1.0, 0.0, 1.0]], np.float32), signed=True)[0, 1]
    assert (colors(np.zeros((1, 3), np.float32), signed=True) == zero).all()


def test_a_sheet_shows_the_maps_that_vary_most() -> None:
    maps = np.zeros((30, 2, 2), np.float32)
    maps[:, 0, 0] = 1 + np.random.default_rng(0).permutation(30)
    chosen = choose(maps)
    assert maps[chosen, 0, 0].tolist() == list(range(30, 30 - MOST, -1))
    assert choose(maps[:MOST]) == list(range(MOST))


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[0.0, 1.0]], [[-1.0, 1.0]]])
def test_the_picture_stays_visible_under_the_heat(values: list[list[float]]) -> None:
    """A dark picture too: in each half of the panel its stripes keep a third of the grey levels apart."""
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[::2] = 60
    maps_of_slot = AttentionMaps("x", "memory slots", ["slot"], np.array([values], np.float32), None, (1, 2))
    sheet = np.asarray(draw(maps_of_slot, stripes, Point(0, 0)).convert("L")).astype(int)
    middle = sheet.shape[0] - 50 - PANEL // 2  # two lines of text below
    for share in (0.2, 0.8):
        column = sheet[middle - 50 : middle + 50, sheet.shape[1] - PANEL + round(share * PANEL) - 12]
        assert np.ptp(column) > 85


def test_the_pixel_is_marked_where_it_matters() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    maps = np.zeros((1, 2, 2), np.float32)
    for position, marked in (((1, 0), True), (None, False)):
        sheet = np.asarray(draw(AttentionMaps("x", "heads", ["head 0"], maps, position, (2, 2)), black, Point(16, 48)))
        left = sheet[-50 - PANEL : -50, 12 : 12 + PANEL]  # two lines of text below
        ring = np.argwhere((left > 250).all(-1))
        assert bool(len(ring)) == marked
        if marked:
            assert abs(ring.mean(0) / PANEL - (48.5 / 64, 16.5 / 64)).max() < 0.02


# --- the command


def test_the_files_are_named_and_an_idle_pixel_is_mentioned(
    trained: Callable[[str], Path], street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(trained("gfa+ca"), street, "-o", tmp_path / "a", "--at", "60,36") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [Path(line).is_file() for line in printed] == [True] * 4
    assert run(trained("gfa+gfa"), street, "-o", tmp_path / "b") == 0
    assert "--at" not in capsys.readouterr().out
    assert run(trained("gfa+gfa"), street, "-o", tmp_path / "c", "--at", " 0 , 0 ") == 0
    assert "changed nothing: gfa+gfa is drawn for all positions" in capsys.readouterr().out
    for n in (4, 5):
        name = f"block{n}_high_gfa.jpg"
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


@pytest.mark.parametrize("at", ["", "5", "5,", "5;6", "1.5,2", "a,b", "1,2,3", "9" * 5000 + ",1"])
def test_a_pixel_that_is_none_is_refused_with_an_example(at: str, street: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not X,Y, two whole numbers of pixels as in '--at 30,18'"):
        visualize("nowhere", street, tmp_path / "out", at=at)


@pytest.mark.parametrize("at", ["61,0", "0,37", "-1,0", "0,-1", "999999999,0"])
def test_a_pixel_outside_is_refused_with_the_size_of_the_picture(at: str, street: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--at {at} lies outside the image, which is 61 pixels wide and 37 high"):
        visualize("nowhere", street, tmp_path / "out", at=at)


def test_bad_input_ends_in_one_line_and_makes_nothing(
    trained: Callable[[str], Path], street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, out = trained("gfa+ca"), tmp_path / "out"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for arguments, message in [
        ((net, tmp_path / "absent.png", "-o", out), "does not exist"),
        ((net, broken, "-o", out), "not a readable image"),
        ((net, tmp_path, "-o", out), "is a folder. Give an image file."),
        ((tmp_path / "absent", street, "-o", out), "absent"),
        ((tmp_path / "absent", street, "-o", tmp_path), "absent"),
        ((net, street, "-o", out, "--at", "-5,3"), "outside the image"),
        ((net, street, "-o", street), f"'{street}' is a file; give another folder"),
        ((net, street, "-o", street / "deeper"), f"'{street}' is a file; give another folder"),
        ((net, street, "-o", tmp_path), "--overwrite"),
    ]:
        assert run(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error, error
        assert "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jpg", "street.png"]


def test_a_network_without_attention_is_refused(street: Path, tmp_path: Path) -> None:
    rtseg.create_model("ddrnet_23_slim", 3, base_channels=8).save_pretrained(tmp_path / "net")
    with pytest.raises(UserError, match=r"net' is a ddrnet_23_slim, which has no attention.*of rtformer_base, "):
        visualize(tmp_path / "net", street, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_are_replaced_when_asked_but_never_the_picture(
    trained: Callable[[str], Path], street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(trained("gfa+ca"), street, "-o", out) == 0
    (out / "block4_low_gfa.jpg").write_bytes(b"older")
    assert run(trained("gfa+ca"), street, "-o", out) == 0
    assert (out / "block4_low_gfa.jpg").read_bytes() == b"older"
    assert run(trained("gfa+ca"), street, "-o", out, "--overwrite") == 0
    assert (out / "block4_low_gfa.jpg").read_bytes() != b"older"
    before = (out / "block4_low_gfa.jpg").read_bytes()
    assert run(trained("gfa+ca"), out / "block4_low_gfa.jpg", "-o", out, "--overwrite") == 2
    assert "would overwrite the image" in capsys.readouterr().err
    assert (out / "block4_low_gfa.jpg").read_bytes() == before


def test_a_folder_takes_further_pixels_but_no_other_network_or_picture(
    trained: Callable[[str], Path], street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", tmp_path / "other.png"
    Image.fromarray(picture(61, 37)).save(other)

    def sheets() -> list[str]:
        return sorted(path.name for path in out.iterdir() if path.suffix == ".jpg")

    assert run(trained("gfa+ca"), street, "-o", out, "--at", "5,6") == 0
    assert run(trained("gfa+ca"), street, "-o", out, "--at", "60, 36") == 0
    low = ["block4_low_gfa.jpg", "block5_low_gfa.jpg"]
    both = sorted([*low, *(f"block{n}_high_ca_at_{at}.jpg" for n in (4, 5) for at in ("5_6", "60_36"))])
    assert sheets() == both
    assert (out / both[0]).read_bytes() != (out / both[1]).read_bytes()
    (out / "notes.txt").touch()
    for network, image in (("sa+sa", street), ("gfa+ca", other)):
        assert run(trained(network), image, "-o", out) == 2
        assert "sheets of another network or image are in it; give another folder, or --over" in capsys.readouterr().err
        assert sheets() == both
    assert run(trained("sa+sa"), street, "-o", out, "--overwrite") == 0
    assert sheets() == sorted(f"block{n}_{branch}_sa.jpg" for n in (4, 5) for branch in ("low", "high"))
    assert (out / "notes.txt").exists()
    assert run(trained("gfa+ca"), out / "block4_low_sa.jpg", "-o", out, "--overwrite") == 2
    assert "would overwrite the image" in capsys.readouterr().err
