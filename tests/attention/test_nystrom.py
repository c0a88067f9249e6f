"""Nystroemformer: exact where it claims to be, near self-attention elsewhere, and its pseudo-inverse on its own."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention import create_attention
from rtseg.attention.nystrom import NystromAttention, pseudo_inverse
from rtseg.attention.self_attention import SelfAttention
from rtseg.errors import UserError


def create(
    channels: int = 16, out_channels: int | None = None, *, std: float = 0.3, **options: Any
) -> NystromAttention:
    attention = NystromAttention(channels, out_channels, **{"heads": 4, **options})
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=std)
    return attention


def self_attention(attention: NystromAttention) -> SelfAttention:
    """With the same weights; it has biases, which are zero."""
    channels = attention.project.in_features
    twin = SelfAttention(attention.qkv.in_features, channels, stride=attention.stride, heads=attention.heads)
    with torch.no_grad():
        twin.queries.weight.copy_(attention.qkv.weight[:channels])
        twin.keys_values.weight.copy_(attention.qkv.weight[channels:])
    twin.project.load_state_dict(attention.project.state_dict())
    return twin.to(attention.qkv.weight.dtype)


def published(attention: NystromAttention, x: Tensor, q_landmarks: Tensor, k_landmarks: Tensor) -> Tensor:
    """(F Z) (B V) as the paper writes it, head by head; landmarks (B, m, C)."""
    y = []
    for head in range(attention.heads):
        width = 16 // attention.heads
        part = slice(head * width, (head + 1) * width)
        q, k, v = (t[..., part] for t in attention.qkv(x.flatten(2).mT).chunk(3, -1))
        q_m, k_m = q_landmarks[..., part] / width**0.5, k_landmarks[..., part]
        z = pseudo_inverse(torch.softmax(q_m @ k_m.mT, -1))
        f, b = torch.softmax(q @ k_m.mT / width**0.5, -1), torch.softmax(q_m @ k.mT, -1)
        y.append((f @ z) @ (b @ v))
    return attention.project(torch.cat(y, -1)).mT.unflatten(2, x.shape[2:])


@pytest.mark.parametrize(
    ("landmarks", "placement", "grid"),
    [(32, "grid", (4, 8)), (6, "grid", (2, 3)), (7, "grid", (1, 7)), (8, "segment", None)],
)
def test_it_is_the_published_product_in_another_order(
    landmarks: int, placement: str, grid: tuple[int, int] | None
) -> None:
    attention = create(landmarks=landmarks, placement=placement).double()
    x = torch.randn(2, 16, 8, 16, dtype=torch.float64)
    if grid is not None:
        pooled = F.adaptive_avg_pool2d(x, grid).flatten(2)
    else:
        pooled = x.flatten(2).unflatten(2, (landmarks, -1)).mean(3)  # equal pieces of the sequence of rows
    q_landmarks, k_landmarks, _ = attention.qkv(pooled.mT).chunk(3, -1)
    expected = published(attention, x, q_landmarks, k_landmarks)
    torch.testing.assert_close(attention(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [((1, 1), 1), ((4, 8), 1), ((7, 16), 2)])
def test_no_more_tokens_than_landmarks_get_exact_attention(size: tuple[int, int], stride: int) -> None:
    attention = create(16, 32, stride=stride, landmarks=32)
    x = torch.randn(2, 16, *size)
    torch.testing.assert_close(attention(x), self_attention(attention)(x), rtol=1e-4, atol=1e-5)
    weights, key_size = attention.attention_map(x)
    torch.testing.assert_close(weights.sum(3), torch.ones(weights.shape[:3]))
    assert key_size == (-(-size[0] // stride), -(-size[1] // stride))


def test_one_token_more_is_approximated() -> None:
    attention, x = create(landmarks=31), torch.randn(2, 16, 4, 8)
    assert (attention(x) - self_attention(attention)(x)).abs().max() > 1e-3


@torch.no_grad()
def test_more_landmarks_come_nearer_to_self_attention() -> None:
    """On smooth maps, as features are; each of ten maps, and at most 5 % away with 64 landmarks."""
    for seed in range(10):
        torch.manual_seed(seed)
        attention = create(32, std=32**-0.5, heads=2, landmarks=16)
        twin = self_attention(attention)
        x = F.interpolate(torch.randn(1, 32, 4, 4), (16, 16), mode="bicubic") + 0.05 * torch.randn(1, 32, 16, 16)
        exact = twin(x)
        errors = []
        for landmarks in (16, 32, 64):
            approximate = NystromAttention(32, heads=2, landmarks=landmarks)
            approximate.load_state_dict(attention.state_dict())
            errors.append(float((approximate(x) - exact).norm() / exact.norm()))
        assert errors[0] > errors[1] > errors[2], errors
        assert errors[2] < 0.05


@torch.no_grad()
def test_the_rows_of_its_map_sum_to_about_one() -> None:
    """Those of the pseudo-inverse would, exactly; six steps leave a few per cent."""
    for seed in range(5):
        torch.manual_seed(seed)
        x = F.interpolate(torch.randn(1, 32, 4, 4), (16, 16), mode="bicubic") + 0.05 * torch.randn(1, 32, 16, 16)
        sums = create(32, std=32**-0.5, heads=2).attention_map(x).weights.sum(3)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=0.05)


def landmark_matrices(n: int = 6, m: int = 32) -> Tensor:
    """Close to singular, as those of neighbouring landmarks are."""
    return (torch.randn(n, m, 3, dtype=torch.float64) @ torch.randn(n, 3, m, dtype=torch.float64)).softmax(-1)


def test_the_steps_approach_the_pseudo_inverse() -> None:
    a = landmark_matrices()
    errors = [float((a @ pseudo_inverse(a, n) @ a - a).norm() / a.norm()) for n in (3, 6, 10, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    assert 0.005 < errors[1] < 0.1  # six steps do not converge
    assert errors[-1] < 1e-8


def test_the_steps_stay_finite_where_there_is_no_inverse() -> None:
    """All landmarks alike, as on a uniform map: A is its own pseudo-inverse."""
    a = torch.full((2, 32, 32), 1 / 32)
    torch.testing.assert_close(pseudo_inverse(a), a, rtol=1e-4, atol=1e-7)


def test_a_matrix_does_not_depend_on_the_others_of_the_batch() -> None:
    """The released code divides by the largest norm of the batch; then it would."""
    a = landmark_matrices()
    a[0] = torch.eye(32)[0]  # every landmark looks at one: the largest norm there is
    alone = torch.cat([pseudo_inverse(a[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(pseudo_inverse(a), alone, rtol=1e-12, atol=1e-12)
    z, eye = a.mT / a.sum(1).max(), torch.eye(32)
    for _ in range(6):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    assert (z - alone).norm() > 0.05 * alone.norm()


@torch.no_grad()
def test_the_inverse_is_computed_in_full_precision_under_autocast() -> None:
    attention = create(std=1.0, landmarks=16).eval()
    x = torch.randn(1, 16, 8, 8)
    kinds = []

    def note(a: Tensor, *rest: Any) -> Tensor:
        kinds.append((a.dtype, torch.is_autocast_enabled("cpu")))
        return pseudo_inverse(a, *rest)

    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr("rtseg.attention.nystrom.pseudo_inverse", note)
        attention(x)
    assert kinds == [(torch.float32, False)]


@pytest.mark.slow
@torch.no_grad()
def test_an_export_of_open_size_holds_both_ways() -> None:
    """Exported at 63 tokens for at most 6 landmarks, and asked for fewer, as many and more."""
    attention = create(landmarks=6, dwconv=3).eval()
    size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(attention, (torch.randn(1, 16, 7, 9),), dynamic_shapes=(size,)).module()
    for height, width in ((7, 9), (1, 1), (2, 3), (1, 7), (16, 12)):
        x = torch.randn(1, 16, height, width)
        torch.testing.assert_close(program(x), attention(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("placement", ["grid", "segment"])
@pytest.mark.parametrize("size", [(5, 7), (2, 2)])
def test_its_map_times_the_values_is_its_output(placement: str, size: tuple[int, int]) -> None:
    attention = create(landmarks=6, placement=placement)
    x = torch.randn(2, 16, *size)
    weights, key_size = attention.attention_map(x)
    assert key_size == size
    values = attention.qkv(x.flatten(2).mT)[..., 32:].unflatten(-1, (4, 4)).transpose(1, 2)
    y = attention.project((weights @ values).transpose(1, 2).flatten(2)).mT
    torch.testing.assert_close(attention(x).flatten(2), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 7), (2, 2)])
def test_the_depthwise_convolution_of_the_values_is_added(size: tuple[int, int]) -> None:
    attention = create(landmarks=6, dwconv=3)
    plain = create(landmarks=6)
    plain.load_state_dict({name: p for name, p in attention.state_dict().items() if "dwconv" not in name})
    assert attention.dwconv is not None
    x = torch.randn(2, 16, *size)
    values = F.conv2d(x, attention.qkv.weight[32:, :, None, None])
    added = F.conv2d(values, attention.dwconv.weight, padding=1, groups=16)
    expected = plain(x) + F.conv2d(added, attention.project.weight[:, :, None, None])
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("na:heads=3", r"'na': heads=3 does not divide 16 channels; choose one of \[1, 2, 4, 8, 16\]"),
        ("na:landmarks=0", "attention 'na': landmarks=0 must be from 1 to 1024"),
        ("na:placement=gird", r"'na': placement=gird is unknown. Did you mean 'grid'\? Known: grid, segment."),
        ("na:dwconv=2", "'na': dwconv=2 has no centre; give an odd number such as 3, or 0 for none"),
        ("na:dwconv=-1", "dwconv=-1 must be from 0 to 127"),
    ],
)
def test_bad_options_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_attention(spec, 16)
