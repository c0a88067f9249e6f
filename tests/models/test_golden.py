"""The network against PaddleSeg's own on the same weights: logits, every module's output, losses, gradients."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.models import Segmenter
from rtseg.models.paddle import convert
from rtseg.models.paddle_names import to_state_dict
from rtseg.models.pdparams import read_pdparams

ATOL = 5e-4

# PaddleSeg's module -> ours; a number behind a colon picks one of several outputs.
MODULES = {
    "conv1": "backbone.stem",
    "layer1": "backbone.stage1",
    "layer2": "backbone.stage2",
    "layer3": "backbone.stage3",
    "compression3": "backbone.stage3_to_high",
    "layer3_": "backbone.stage3_high",
    "spp": "head.context",
    **{
        f"layer{n}.{theirs}": f"backbone.block{n}{ours}"
        for n in (4, 5)
        for theirs, ours in {
            "attn_shortcut_l": ".low_shortcut",
            "attn_l": ".low_attention",
            "mlp_l": ".low_mlp",
            "compression": ".low_to_high",
            "cross_kv": ".high_attention.keys_values",
            "attn_h": ".high_attention",
            "mlp_h": ".high_mlp",
            "down": ".high_to_low",
            "0": ":0",
            "1": ":1",
        }.items()
    },
}


def load(segmenter: Segmenter, pdparams: Path) -> Segmenter:
    segmenter.load_weights(to_state_dict(read_pdparams(pdparams)), source=str(pdparams))
    return segmenter.eval()


def sizes(io: np.lib.npyio.NpzFile) -> Iterator[str]:
    return (key.removeprefix("x/") for key in io.files if key.startswith("x/"))


def check_outputs(segmenter: Segmenter, io: np.lib.npyio.NpzFile) -> int:
    """Holds the segmenter to every output in a golden file; returns how many there were."""
    compared = 0
    for size in sizes(io):
        with torch.no_grad():
            image = torch.from_numpy(io[f"x/{size}"])
            logits, aux = segmenter.forward_train(image).values()
            ours = {"logits": logits, "aux_evalbn": aux, "seghead": segmenter.logits(image)}
        assert torch.equal(segmenter(image), logits)
        np.testing.assert_array_equal(logits.argmax(1).numpy(), io[f"argmax/{size}"], err_msg=size)
        for name, tensor in ours.items():
            if f"{name}/{size}" in io:
                reference = io[f"{name}/{size}"]
            elif f"{name}_subset/{size}" in io:
                tensor, reference = tensor[:, io[f"logits_channels/{size}"]], io[f"{name}_subset/{size}"]
            else:
                continue
            np.testing.assert_allclose(tensor.numpy(), reference, rtol=0, atol=ATOL, err_msg=f"{name} at {size}")
            compared += 1
    return compared


def check_modules(segmenter: Segmenter, io: np.lib.npyio.NpzFile) -> int:
    keys = [key for key in io.files if key.startswith("inter/")]
    size = keys[0].split("/")[1]
    outputs: dict[str, list[Tensor]] = {}

    def keep(name: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            outputs[name] = [t.clone() for t in (output if isinstance(output, tuple) else (output,))]

        segmenter.get_submodule(name).register_forward_hook(hook)

    ours = {key: MODULES[key.split("/")[2]] for key in keys}
    for name in {name.split(":")[0] for name in ours.values()}:
        keep(name)
    with torch.no_grad():
        segmenter(torch.from_numpy(io[f"x/{size}"]))
    for key, name in ours.items():
        module, _, index = name.partition(":")
        tensor = outputs[module][int(index or 0)]
        np.testing.assert_allclose(tensor.numpy(), io[key], rtol=0, atol=ATOL, err_msg=key)
    return len(keys)


def test_tiny_network_gives_the_references_logits(tiny: Segmenter, tiny_pdparams: Path, golden: Path) -> None:
    with np.load(golden / "rtformer_tiny_test.io.npz") as io:
        assert check_outputs(load(tiny, tiny_pdparams), io) == 4


def test_tiny_network_at_every_size(tiny: Segmenter, shared: Path) -> None:
    segmenter = load(tiny, shared / "golden/rtformer_tiny_test.pdparams")
    with np.load(shared / "golden/rtformer_tiny_test.io.npz") as io:
        assert check_outputs(segmenter, io) == 12
        assert check_modules(segmenter, io) == 24


def test_official_slim_network_at_every_size(shared: Path) -> None:
    segmenter = convert(shared / "golden/rtformer_slim_ade20k.pdparams", "rtformer_slim", "ade20k")
    with np.load(shared / "golden/rtformer_slim_ade20k.io.npz") as io:
        assert check_outputs(segmenter, io) == 9
        assert check_modules(segmenter, io) == 23


@pytest.mark.parametrize("name", ["rtformer_tiny_test", "rtformer_slim_ade20k"])
def test_pdparams_hold_the_state(name: str, shared: Path) -> None:
    params = read_pdparams(shared / f"golden/{name}.pdparams")
    with np.load(shared / f"golden/{name}.state.npz") as state:
        assert list(params) == state.files
        for key, array in params.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, state[key], err_msg=key)


class ReferenceBatchNorm(nn.BatchNorm2d):
    """Paddle's running statistics: new ones weigh 0.9, and the variance is the biased one."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            self.running_mean.lerp_(x.mean((0, 2, 3)), 0.9)
            self.running_var.lerp_(x.var((0, 2, 3), unbiased=False), 0.9)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


# Their true gradient is zero, so the reference holds rounding noise: a constant before BatchNorm, or before softmax
# over space.
ZERO_GRADIENTS = {
    "conv1.0.bias", "conv1.3.bias", "layer5.mlp_l.conv2.bias", "layer5.mlp_h.conv2.bias",
    "layer4.attn_l.norm.bias", "layer5.attn_l.norm.bias", "layer5.cross_kv.0.bias",
}  # fmt: skip


def renamed(arrays: dict[str, np.ndarray]) -> dict[str, tuple[str, np.ndarray]]:
    """Paddle's name -> (our name, array)."""
    return {key: (next(iter(to_state_dict({key: array}))), array) for key, array in arrays.items()}


def prefixed(npz: np.lib.npyio.NpzFile, prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): npz[key] for key in npz.files if key.startswith(prefix)}


def test_training_gives_the_references_loss_gradients_and_statistics(tiny: Segmenter, shared: Path) -> None:
    load(tiny, shared / "golden/rtformer_tiny_test.pdparams").train()
    for module in tiny.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = ReferenceBatchNorm
    heads = [p for name, p in tiny.named_parameters() if not name.startswith("backbone.")]
    trunk = [p for name, p in tiny.named_parameters() if name.startswith("backbone.")]
    optimizer = torch.optim.AdamW([{"params": trunk}, {"params": heads}], lr=1.0, weight_decay=0.0125)
    with np.load(shared / "golden/rtformer_tiny_test.train.npz") as npz:
        for step in range(4):
            main, aux = tiny.forward_train(torch.from_numpy(npz[f"step{step}/x"])).values()
            label = torch.from_numpy(npz[f"step{step}/label"]).long()
            loss = F.cross_entropy(main, label, ignore_index=255)
            aux_loss = 0.4 * F.cross_entropy(aux, label, ignore_index=255)
            ours = [loss.item(), aux_loss.item(), (loss + aux_loss).item()]
            np.testing.assert_allclose(ours, npz[f"step{step}/loss"], rtol=0, atol=5e-6)
            optimizer.zero_grad()
            (loss + aux_loss).backward()
            if step == 0:
                np.testing.assert_allclose(main.detach().numpy(), npz["step0/logits"], rtol=0, atol=ATOL)
                np.testing.assert_allclose(aux.detach().numpy(), npz["step0/aux"], rtol=0, atol=ATOL)
                check_statistics(tiny, prefixed(npz, "step0/running_after_forward/"))
                check_gradients(tiny, prefixed(npz, "step0/grad/"))
            for group, factor in zip(optimizer.param_groups, (1, 10), strict=True):
                group["lr"] = factor * float(npz["lr"][step])
            optimizer.step()


def check_statistics(segmenter: Segmenter, arrays: dict[str, np.ndarray]) -> None:
    buffers = dict(segmenter.named_buffers())
    assert len(arrays) == sum("running" in name for name in buffers)
    for key, (name, array) in renamed(arrays).items():
        np.testing.assert_allclose(buffers[name].numpy(), array, rtol=0, atol=1e-4, err_msg=key)


def check_gradients(segmenter: Segmenter, arrays: dict[str, np.ndarray]) -> None:
    parameters = dict(segmenter.named_parameters())
    assert len(arrays) == len(parameters)
    for key, (name, array) in renamed(arrays).items():
        grad = parameters[name].grad
        assert grad is not None, key
        if key in ZERO_GRADIENTS:
            assert grad.abs().max() < 1e-6, key
        else:
            np.testing.assert_allclose(grad.numpy(), array, rtol=0, atol=2e-3 * np.abs(array).max(), err_msg=key)
