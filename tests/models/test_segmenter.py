"""Segmenters: properties of every model with every attention, weights that do not fit, saving and loading."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rtseg
from rtseg.attention import list_attentions, parse_attention
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model, list_models, weights
from rtseg.models.backbone import NO_ATTENTION, choose_attention
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import describe, differences


def is_legal(attention: str) -> bool:
    try:
        parse_attention(attention)
    except UserError:
        return False
    return True


def pairs() -> list[str]:
    """Every mechanism in every branch: alone for both where it can be, otherwise as the high one."""
    names = list_attentions()
    alone = [name for name in names if is_legal(name)]
    return alone + [f"{low}+{name}" for name in names if name not in alone for low in alone]


PAIRS = pairs()
LEGAL = [f"{low}+{high}" for low in list_attentions() for high in list_attentions() if is_legal(f"{low}+{high}")]
SWAPPABLE = [model for model in list_models() if choose_attention(model, None) != NO_ATTENTION]
NETWORKS = [(m, a) for m in list_models() for a in (PAIRS if m in SWAPPABLE else [NO_ATTENTION])]
every_network = pytest.mark.parametrize(("model", "attention"), NETWORKS)


def small(model: str = "rtformer_slim", attention: str = "gfa+ca", num_classes: int = 5, **options: Any) -> Any:
    return create_model(model, num_classes, attention=attention, **{"base_channels": 8, "spp_channels": 16, **options})


def randomise_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]


# --- properties of all


def test_pairs_hold_every_mechanism() -> None:
    assert {part for pair in PAIRS for part in pair.split("+")} == set(list_attentions())
    assert "gfa+ca" in PAIRS


def test_every_mechanism_goes_with_every_other_but_ca_in_the_low_branch() -> None:
    names = set(list_attentions())
    assert set(LEGAL) == {f"{low}+{high}" for low in names - {"ca"} for high in names}
    assert len(LEGAL) >= 56


@every_network
@torch.no_grad()
def test_inference_at_any_size(model: str, attention: str) -> None:
    network = small(model, attention).eval()
    randomise_statistics(network)
    for size in ((1, 1), (33, 65)):
        image = torch.randn(2, 3, *size)
        logits = network(image)
        assert logits.shape == (2, 5, *size)
        assert logits.isfinite().all()
        assert network.logits(image).shape == (2, 5, -(-size[0] // 8), -(-size[1] // 8))
        main, aux = network.forward_train(image)
        assert torch.equal(main, logits)
        assert aux.shape == logits.shape
        torch.testing.assert_close(logits[:1], network(image[:1]), rtol=1e-4, atol=1e-4)


@every_network
@torch.no_grad()
def test_memory_layout_does_not_matter(model: str, attention: str) -> None:
    network, image = small(model, attention).eval(), torch.randn(2, 3, 33, 47)
    randomise_statistics(network)
    logits, last = network(image), image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last), logits, rtol=1e-4, atol=1e-4)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last), logits, rtol=1e-4, atol=1e-4)


# True gradient zero: constants before BatchNorm or before softmax over space; rounding noise arrives, or nothing.
NOISE = (
    "stem.0.bias", "stem.3.bias", "block5.low_mlp.conv2.bias", "block5.high_mlp.conv2.bias", "norm.bias",
    *(f"{stage}.{path}.1.bias" for stage in ("stage5", "stage5_high") for path in ("expand", "shortcut")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "attention"),
    [("rtformer_slim", pair) for pair in LEGAL] + [network for network in NETWORKS if network[0] != "rtformer_slim"],
)
def test_training_steps_reach_every_parameter_and_keep_the_size(model: str, attention: str) -> None:
    options: dict[str, Any] = {"injection": (True, True), "drop_path": 0.0} if model in SWAPPABLE else {}
    network = small(model, attention, **options).train()
    optimizer = torch.optim.Adam(network.parameters())  # without weight decay, which moves what has no gradient, too
    for size in ((128, 160), (97, 131)):
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        mask = torch.randint(0, 5, (2, *size))
        main, aux = network.forward_train(torch.randn(2, 3, *size))
        assert main.shape == aux.shape == (2, 5, *size)
        optimizer.zero_grad()
        (F.cross_entropy(main, mask) + 0.4 * F.cross_entropy(aux, mask)).backward()
        optimizer.step()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.isfinite().all(), name
            moved = parameter.grad.any() and not torch.equal(parameter, before[name])
            assert moved or name.endswith(NOISE), name


@every_network
def test_a_seed_decides_the_weights(model: str, attention: str) -> None:
    def create(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return small(model, attention).state_dict()

    first, again, other = create(1), create(1), create(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@torch.no_grad()
def test_drop_path_is_off_in_evaluation() -> None:
    network, image = small(drop_path=0.9).eval(), torch.randn(2, 3, 32, 32)
    without = small(drop_path=0.0).eval()
    without.load_weights(network.state_dict(), source="here")
    assert torch.equal(network(image), network(image))
    assert torch.equal(network(image), without(image))


def test_the_library_offers_the_network() -> None:
    assert rtseg.list_models() == list_models()
    network: Any = rtseg.create_model("rtformer_slim", 4, attention="sa", base_channels=8, head_channels=6)
    assert network.card == ModelCard("rtformer_slim", "sa", 4, {"base_channels": 8, "head_channels": 6})
    assert network.head.classifier.hidden[2].out_channels == 12
    assert network.aux_head.hidden[2].out_channels == 6


# --- bad input


@pytest.mark.parametrize(
    ("name", "num_classes", "options", "message"),
    [
        ("rtformer_slm", 5, {}, r"unknown model 'rtformer_slm'. Did you mean 'rtformer_slim'\? Known: .*rtformer_base"),
        (None, 5, {}, "unknown model 'None'"),
        ("rtformer_slim", 0, {}, "num_classes=0 must be a whole number of at least 1"),
        ("rtformer_slim", "5", {}, "num_classes='5' must be a whole number of at least 1"),
        ("rtformer_slim", 5, {"attention": "gfa+cca"}, r"unknown attention 'cca'. Did you mean 'ca'\?"),
        ("rtformer_slim", 5, {"attention": 3}, "attention=3 must be a text such as 'gfa[+]ca'"),
        ("rtformer_slim", 5, {"attention": "none"}, "unknown attention 'none'"),
        ("rtformer_slim", 5, {"attention": "ca"}, "it can stand only in the high one"),
        ("rtformer_slim", 5, {"attention": "sa:heads=3"}, "heads=3 does not divide 256 channels"),
        ("rtformer_slim", 5, {"head_chanels": 8}, r"no option 'head_chanels'. Did you mean 'head_channels'\?"),
        ("rtformer_slim", 5, {"head_channels": 0}, "head_channels=0 must be a whole number of at least 1"),
        ("rtformer_slim", 5, {"spp_channels": "128"}, "spp_channels='128' must be a whole number of at least 1"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(name: str, num_classes: int, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_model(name, num_classes, **options)


def test_a_batch_of_one_is_refused_in_training_with_the_repair() -> None:
    network, image = small().train(), torch.randn(1, 3, 64, 64)
    for call in (network.forward_train, network, network.logits):
        with pytest.raises(UserError, match=r"batch of one cannot be trained.*data.batch_size.*call .eval\(\)"):
            call(image)
    assert network.eval()(image).shape == (1, 5, 64, 64)
    nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    network._features(
        torch.randn(2, 3, 64, 64)
    )  # other processes bring the second value; nothing is refused beforehand


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 8, 8),
        torch.zeros(1, 8, 8, 3),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.int64),
    ],
)
def test_what_is_no_image_batch_is_refused(image: Tensor) -> None:
    with pytest.raises(UserError, match=r"an image batch is \(B, 3, H, W\) in normalised floats, not \(.*rtseg.load"):
        small().eval()(image)


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        ({"num_classes": 7}, ["aux_head.classify.2.bias (7,) for (5,)", "5 classes"]),
        ({"attention": "sa"}, ["missing (backbone.block4.high_attention.norm.", "unknown (", "attention 'gfa+ca'"]),
        ({"base_channels": 16}, ["235 of another shape (aux_head.classify.0.bias (32,) for (16,), "]),
        ({"injection": (True, True)}, ["unknown (backbone.block5.high_to_low.0.0.bias, "]),
    ],
)
def test_weights_of_another_network_are_refused(other: dict, parts: list[str]) -> None:
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UserError) as error:
        network.load_weights(small(**other).state_dict(), source="other.ckpt")
    for part in ("the weights in other.ckpt do not fit rtformer_slim", "Give the attention, num_classes", *parts):
        assert part in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# --- saving and loading


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = small(num_classes=2, injection=(True, True))
    randomise_statistics(network)
    describe(network, class_names=("road", "sky"), palette=((1, 2, 3), (4, 5, 6)), ids=(7, 8), dataset="camvid")
    network.save_pretrained(tmp_path / "runs" / "saved")
    return tmp_path / "runs" / "saved"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, *_: object, **__: object) -> str:
        raise AssertionError(f"the network was asked for {name}")

    monkeypatch.setattr(weights, "hf_hub_download", download)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("attention", PAIRS)
@torch.no_grad()
def test_a_saved_segmenter_comes_back_the_same(attention: str, tmp_path: Path) -> None:
    network = small(attention=attention, injection=[True, True], head_channels=4, drop_path=0.25)
    randomise_statistics(network)
    network.save_pretrained(tmp_path / "saved")
    back: Any = Segmenter.from_pretrained(str(tmp_path / "saved"))
    assert not back.training
    assert back.card == network.card
    state = back.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    image = torch.randn(1, 3, 33, 40)
    assert torch.equal(back(image), network.eval()(image))


def test_the_folder_describes_itself(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = json.loads((saved / "config.json").read_text())
    assert card["class_names"] == ["road", "sky"]
    assert card["options"] == {"base_channels": 8, "spp_channels": 16, "injection": [True, True]}
    readme = (saved / "README.md").read_text()
    assert "library_name: rtseg" in readme
    assert "# rtformer_slim, attention gfa+ca, 2 classes" in readme
    assert "Data set: camvid" in readme
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1  # whoever may read one may read all


def test_weights_in_another_memory_format_can_be_saved(tmp_path: Path) -> None:
    network = small().to(memory_format=torch.channels_last)
    network.save_pretrained(tmp_path / "saved")
    back: Any = Segmenter.from_pretrained(tmp_path / "saved")
    assert torch.equal(back.backbone.stem[3].weight, network.backbone.stem[3].weight)


def break_saving(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def half(folder: Path, *what: Any) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr("rtseg.models.segmenter.write_weights", half)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_saving(monkeypatch, error)
    with pytest.raises(type(error)):
        small().save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_second_save_keeps_the_first(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    break_saving(monkeypatch, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        small(num_classes=2).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_saving_into_a_folder_replaces_the_network_and_keeps_the_rest(saved: Path) -> None:
    (saved / "README.md").write_text("my notes")
    (saved / "picture.png").write_bytes(b"png")
    network = small(num_classes=3)
    network.save_pretrained(saved)
    back: Any = Segmenter.from_pretrained(saved)
    assert back.card == network.card
    assert torch.equal(back.aux_head.classify[2].weight, network.aux_head.classify[2].weight)
    assert (saved / "README.md").read_text() == "my notes"
    assert (saved / "picture.png").read_bytes() == b"png"


def test_saving_onto_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("mine")
    with pytest.raises(UserError, match="is a file; give another folder"):
        small().save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved").read_text() == "mine"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json.*found: README.md, model.safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no model.safetensors.*: README.md, config"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json' is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is no card"),
        (lambda folder: (folder / "config.json").write_text("{}"), "model, attention, num_classes missing"),
        (lambda folder: edit_card(folder, attention="sa"), "do not fit rtformer_slim with attention 'sa'"),
        (lambda folder: edit_card(folder, model="resnet"), "unknown model 'resnet'"),
        (lambda folder: edit_card(folder, options={"depth": 3}), "no option 'depth'"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"text"), "damaged or no safetensors file"),
        (lambda folder: cut(folder / "model.safetensors"), "damaged or no safetensors file"),
        (lambda folder: shutil.rmtree(folder), "saved' does not exist"),
    ],
)
def test_damaged_folders_are_refused(damage: Any, message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(UserError, match=message) as error:
        Segmenter.from_pretrained(saved)
    assert str(saved) in str(error.value)


def edit_card(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "name", ["missing", "runs/missing", "./missing/again", "/no/such/place", "a/b/c", "~/weights", "gone/last.ckpt", ""]
)
def test_a_path_that_is_not_there_stays_off_the_network(
    name: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parents[1])
    with pytest.raises(UserError, match=r"does not exist|holds no"):
        Segmenter.from_pretrained(name)


def test_owner_and_name_are_looked_for_on_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo: str, file: str, **options: object) -> str:
        asked.append((repo, file, options))
        return str(saved / file)

    monkeypatch.setattr(weights, "hf_hub_download", download)
    monkeypatch.chdir(saved.parent)
    network = Segmenter.from_pretrained("somebody/rtformer-1.0", revision="v1")
    assert network.card.class_names == ("road", "sky")
    files = ("config.json", "model.safetensors")
    assert asked == [("somebody/rtformer-1.0", file, {"revision": "v1"}) for file in files]

    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(weights, "hf_hub_download", refuse)
    with pytest.raises(UserError, match=r"'somebody/else' is no file or folder here, and .* hub .*no route to host"):
        Segmenter.from_pretrained("somebody/else")


def test_a_push_to_the_hub_sends_the_whole_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {}

    class Hub:
        def __init__(self, token: str | None = None) -> None:
            self.token = token

        def create_repo(self, repo_id: str, **_: object) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **_: object) -> str:
            sent[repo_id] = {path.name: path.read_text(errors="replace") for path in Path(folder_path).iterdir()}
            return "address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    assert small().push_to_hub("somebody/rtformer") == "address"
    files = sent["somebody/rtformer"]
    assert files.keys() == {"README.md", "config.json", "model.safetensors"}
    assert "# rtformer_slim, attention gfa+ca, 5 classes" in files["README.md"]


@pytest.mark.parametrize(
    ("model", "first", "second", "kinds"),
    [
        ("rtformer_slim", ("sa", {}), ("sa+sa:heads=2", {}), set()),
        ("rtformer_slim", ("gfa+ca", {}), ("gfa+ca:cross_size=8", {"drop_path": 0.1}), set()),
        ("rtformer_base", ("gfa+ca", {}), ("gfa+ca:cross_size=12", {}), set()),
        ("rtformer_base", ("gfa+ca:cross_size=8", {}), ("gfa+ca:cross_size=8", {"cross_size": 8}), set()),
        ("rtformer_base", ("gfa+ca", {}), ("gfa+ca:cross_size=8", {}), {"attention"}),
        ("rtformer_base", ("gfa+ca", {}), ("gfa+ca", {"cross_size": 8}), {"options"}),
        ("rtformer_slim", ("gfa+ca", {}), ("gfa", {}), {"attention"}),
        ("rtformer_slim", ("gfa", {"injection": [True, True]}), ("gfa", {}), {"options"}),
    ],
)
def test_differences_are_of_the_network_not_of_the_spelling(
    model: str, first: tuple[str, dict], second: tuple[str, dict], kinds: set[str]
) -> None:
    one, other = (ModelCard(model, attention, 5, options) for attention, options in (first, second))
    assert differences(one, other).keys() == kinds
    assert differences(other, one).keys() == kinds
