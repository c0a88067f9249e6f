"""A backbone, a head and a loss of somebody else's, by public names alone: trained, resumed, folded, exported, used.

In a process of its own, since what is registered stays. The same from a plug-in file: tests/training/test_plugins.py.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.fresh import ROOT, run_fresh

PAGE = ROOT / "docs" / "adding-a-backbone.md"


def test_a_toy_backbone_goes_the_whole_way(tiny_camvid: Path, tmp_path: Path) -> None:
    call = f"the_whole_way({str(tiny_camvid)!r}, {str(tmp_path)!r})"
    status, _, errors = run_fresh(f"from tests.models.test_toy_backbone import the_whole_way; {call}", tmp_path)
    assert status == 0, errors[-3000:]


def the_whole_way(data: str, folder: str) -> None:
    """Four maps under a head at 1/4, with an output of its own loss."""
    import lightning as L
    import numpy as np
    import onnxruntime
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    import rtseg
    from rtseg.deploy.engines import create_engine
    from rtseg.deploy.exports.build import export
    from rtseg.deploy.fuse import count_batchnorm, deploy
    from rtseg.errors import UserError
    from rtseg.layers.conv import basic_stage, conv1x1, init_convolutions, spatial_size, stem, upsample_to
    from rtseg.models.backbone import Auxiliary, Backbone, FeatureInfo, register_backbone
    from rtseg.models.heads import Head, register_head
    from rtseg.models.segmenter import Segmenter, differences
    from rtseg.options import Positive
    from rtseg.training.datamodule import SegmentationData
    from rtseg.training.losses import LossConfig, LossContext, register_loss
    from rtseg.training.module import SegmentationModule

    @register_loss("edges")
    def edges(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
        edge = (mask[:, None, :, 1:] != mask[:, None, :, :-1]).float()
        assert list(context.outputs) == ["main", "aux", "edge"]
        return F.binary_cross_entropy_with_logits(logits[..., 1:], edge)

    @register_backbone("toy")
    class Toy(Backbone):
        head = "toy_sum"
        outputs = {  # noqa: RUF012
            "aux": Auxiliary("c4", weight=0.4),
            "edge": Auxiliary("c2", weight=2, loss="edges", channels=1, options={"head_channels": 6}),
        }

        def __init__(self, *, base_channels: Positive = 8, kind: str = "plain") -> None:
            super().__init__()
            c = base_channels
            self.features = {f"c{k}": FeatureInfo(c * (k - 1), 2**k) for k in (2, 3, 4, 5)}
            self.stem = stem(c)
            widths = zip((c, c, 2 * c, 3 * c), (c, 2 * c, 3 * c, 4 * c), (1, 2, 2, 2), strict=True)
            self.stages = nn.ModuleList(basic_stage(*width) for width in widths)
            init_convolutions(self)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            maps, x = {}, self.stem(image)
            for name, stage in zip(self.features, self.stages, strict=True):
                maps[name] = x = F.relu(stage(x))
            return maps

    @register_head("toy_sum")
    class Sum(Head):
        def __init__(self, features: Mapping[str, FeatureInfo], num_classes: int, *, width: Positive = 8) -> None:
            super().__init__(features, num_classes)
            self.stride = features["c2"].stride
            self.laterals = nn.ModuleDict({name: conv1x1(info.channels, width) for name, info in features.items()})
            self.classify = conv1x1(width, num_classes, bias=True)

        def forward(self, features: Mapping[str, Tensor]) -> Tensor:
            size = spatial_size(features["c2"])
            maps = [upsample_to(lateral(features[name]), size) for name, lateral in self.laterals.items()]
            return self.classify(F.relu(torch.stack(maps).sum(0)))

    @register_backbone("toy_clash")
    class Clash(Toy):
        def __init__(self, *, width: Positive = 8) -> None:
            super().__init__()

    class SaveSecond(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(Path(folder, "second.ckpt"))

    def train(ckpt_path: Path | None = None) -> SegmentationModule:
        torch.manual_seed(0)
        module = SegmentationModule(
            "toy", 11, options={"width": 6}, loss=LossConfig(weights={"edge": 0.5}), ema_decay=0.9, batch_size=3
        )
        trainer = L.Trainer(
            accelerator="cpu", max_steps=3, callbacks=[SaveSecond()], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )  # fmt: skip
        batches = SegmentationData("camvid", data, batch_size=3, crop_size=(32, 48), num_workers=0, seed=7)
        trainer.fit(module, batches, ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(Path(folder, "last.ckpt"))
        return module

    whole, resumed = train(), train(Path(folder, "second.ckpt"))
    ours, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    network = Segmenter.from_pretrained(Path(folder, "last.ckpt"))
    card = network.card
    assert (card.model, card.head, card.attention, dict(card.options)) == ("toy", "toy_sum", "none", {"width": 6})
    assert {key.split(".")[0] for key in network.state_dict()} == {"backbone", "head", "aux_head", "edge_head"}
    assert network.get_submodule("edge_head.classify")[2].weight.shape == (1, 6, 1, 1)  # type: ignore[index]

    deployed = deploy(network)
    assert count_batchnorm(deployed) == 0
    assert not any(name.startswith("segmenter.aux") for name, _ in deployed.named_parameters())
    images = torch.randint(0, 256, (1, 40, 56, 3), dtype=torch.uint8)
    with torch.inference_mode():
        logits = deployed.logits(deployed.prepare(images))
        exact = network.logits(deployed.prepare(images))
    assert logits.shape == (1, 11, 10, 14)
    torch.testing.assert_close(logits, exact, rtol=1e-4, atol=1e-4)

    graph = export(network, (1, 40, 56))
    (name,) = (value.name for value in onnxruntime.InferenceSession(graph.model).get_inputs())
    (found,) = onnxruntime.InferenceSession(graph.model).run(None, {name: images.numpy()})
    np.testing.assert_allclose(found, logits.permute(0, 2, 3, 1).numpy(), rtol=1e-3, atol=1e-4)

    class_map = rtseg.load(Path(folder, "last.ckpt"), device="cpu")(images[0].numpy())
    expected = upsample_to(exact, (40, 56)).argmax(1)[0].numpy()
    assert class_map.shape == (40, 56)
    assert (class_map == expected).mean() > 0.999
    engine = create_engine("onnxruntime", graph, (1, 40, 56))
    assert (engine.run(images)[0].numpy() == expected).mean() > 0.999

    for options, says in (
        ({"head": "dual_resolution"}, "feature map 'high', which the backbone does not have. Known: c2, c3, c4, c5."),
        ({"kind": 3}, "model 'toy': kind=3 must be a text, as the default plain"),
        ({"widht": 3}, "Did you mean 'width'? Known: base_channels, head_channels, kind, width."),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            rtseg.create_model("toy", 5, **options)
    assert rtseg.create_model("toy", 5, head="conv", map="c5").head.stride == 32
    with pytest.raises(UserError, match=r"'toy_clash' and its heads .* both have an option 'width': rename one"):
        rtseg.create_model("toy_clash", 5)
    # An option that auxiliary heads alone have.
    cards = rtseg.create_model("toy", 5).card, rtseg.create_model("toy", 5, head_channels=4).card
    assert differences(*cards) == {"options": ({"head_channels": None}, {"head_channels": 4})}

    @register_backbone("toy_early")
    class Early(Toy):
        def __init__(self) -> None:
            self.stem = stem(8)
            super().__init__()

    @register_head("toy_early")
    class EarlySum(Sum):
        def __init__(self, features: Mapping[str, FeatureInfo], num_classes: int) -> None:
            self.classify = conv1x1(8, num_classes)
            super().__init__(features, num_classes)

    for model, head, says in (
        ("toy_early", None, "model 'toy_early': cannot assign .* Begin its constructor with `super().__init__()`"),
        ("toy", "toy_early", "head 'toy_early': cannot assign .* Begin its constructor with `super().__init__(fea"),
    ):
        with pytest.raises(UserError, match=re.escape(says).replace(r"\.\*", ".*")):
            rtseg.create_model(model, 5, head=head)
    Toy.outputs = {"aux": Auxiliary("c4", weight=1, head="toy_sum")}
    with pytest.raises(UserError, match="head 'toy_sum' of output 'aux' has no option `map`"):
        rtseg.create_model("toy", 5)


@pytest.mark.slow
def test_the_pages_backbones_are_complete(tmp_path: Path) -> None:
    """The shortest as a file of the library, in a copy of it, where nothing lists it; the other as a plug-in."""
    copy = tmp_path / "rtseg"
    shutil.copytree(ROOT / "rtseg", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for page, name in ((PAGE, "rtseg/models/tiny.py"), (PAGE.with_name("plugins.md"), "my_backbone.py")):
        code = re.search(rf"```python\n# {name}\n(.*?)```", page.read_text(), re.S)
        assert code is not None
        (tmp_path / name).write_text(code[1])
    (copy / "models" / "heads" / "none.py").write_text(HEAD)
    (copy / "training" / "losses" / "zero.py").write_text(LOSS)
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.models.test_toy_backbone import the_pages; the_pages({str(tmp_path)!r})"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


HEAD = """
from rtseg.models.heads import Head, register_head
@register_head("none")
class None_(Head):
    def forward(self, features):
        return features
"""
LOSS = """
from rtseg.training.losses.base import register_loss
register_loss("zero")(lambda logits, mask, context: 0 * logits.sum())
"""


def the_pages(folder: str) -> None:
    import torch

    import rtseg
    from rtseg.training.losses import list_losses

    assert rtseg.__file__.startswith(folder)
    assert "none" in rtseg.list_heads()
    assert "zero" in list_losses()
    rtseg.load_plugin(Path(folder, "my_backbone.py"))
    torch.manual_seed(0)
    check_shortest()
    check_one_with_head()


def check_shortest() -> None:
    """It builds, trains a step, folds and has the maps that it says."""
    import torch

    import rtseg
    from rtseg.deploy.fuse import deploy
    from rtseg.training.losses import LossConfig, TotalLoss
    from tests.helpers.folding import unfolded

    network = rtseg.create_model("tiny", 5, base_channels=8)
    outputs = network.forward_train(torch.randn(2, 3, 33, 65))
    assert {name: tuple(logits.shape) for name, logits in outputs.items()} == dict.fromkeys(
        ["main", "aux"], (2, 5, 33, 65)
    )
    TotalLoss(network.backbone.outputs, LossConfig())(outputs, torch.randint(0, 5, (2, 33, 65))).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.logits(torch.randn(2, 3, 33, 65)).shape == (2, 5, 5, 9)
    assert unfolded(deploy(network), torch.randn(1, 3, 32, 48)) == []


def check_one_with_head() -> None:
    """It folds under its own head and another, and is a classifier that is taught as a whole."""
    import torch

    import rtseg
    from pretrain.networks.classifier import create_classifier
    from rtseg.deploy.fuse import deploy
    from tests.helpers.folding import unfolded

    for head in (None, "conv"):
        network = rtseg.create_model("my_stages", 5, head=head, base_channels=8)
        assert unfolded(deploy(network), torch.randn(1, 3, 32, 48)) == []
    classifier = create_classifier("my_stages", 5, base_channels=8)
    classifier(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
