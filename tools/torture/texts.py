"""Hostile YAML and JSON: descriptions of data, configurations, model cards."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tools.torture import materials
from tools.torture.case import Case, command_case, must_refuse, no_fault

_SPLITS = "train: {images: images, masks: masks}\nval: {images: images, masks: masks}\n"
# What a card held before it held a digest: without one, the values themselves are looked at.
_CARD = (
    "model", "attention", "num_classes", "options", "class_names", "palette", "ids", "ignore_index", "mean", "std",
    "input_size", "eval_resize", "dataset", "source", "part", "plugins", "head",
)  # fmt: skip


def aliases(depth: int = 12, width: int = 10) -> str:
    """A few lines that stand for width ** depth entries."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, depth)]
    return "\n".join(lines) + "\n"


def structures(canary: Path) -> dict[str, str | bytes]:
    """YAML that hurts whoever reads it, whatever it describes."""
    run = f"!!python/object/apply:os.system ['touch {canary}']"
    return {
        "aliases in aliases": aliases(),
        "aliases as merges": "a0: &a0 {x: 1}\n"
        + "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}], k{k}: 1}}\n" for k in range(1, 9)),
        "an alias of itself": "classes: &a [*a]\n",
        "5,000 brackets": "classes: " + "[" * 5000 + "]" * 5000,
        "100,000 brackets": "classes: " + "[" * 100_000,
        "5,000 maps": "".join(" " * k + "a:\n" for k in range(5000)),
        "10 MB of list": "classes: [" + "ab, " * 2_500_000 + "c]",
        "10 MB of one line": "classes: " + "a" * 10_000_000,
        "a number of 100,000 digits": "classes: " + "9" * 100_000,
        "code": f"classes: {run}\n",
        "code as a key": f"? {run}\n: 1\n",
        "another's tag": "classes: !!binary '////'\n",
        "a list as a key": "? [a, b]\n: 1\n",
        "no text": b"\xff\xfe\x00\x01" * 20,
        "NUL": "classes: [a\0b]\n",
        "an escape code": 'classes: ["\\e[31mred"]\nepochs\x1b[31m: 1\n',
        "nothing": "",
        "a list": "- a\n- b\n",
        "two documents": "a: 1\n---\nb: 2\n",
    }


def dataset_cases(folder: Path, canary: Path) -> Iterator[Case]:
    """Cases of `dataset.yaml`, with a pair of image and mask that is good."""
    two = "classes: [a, b]\n"
    odd = {
        "a key twice": f"{two}{two}{_SPLITS}",
        "a key twice in a split": f"{two}train: {{images: images, images: x, masks: masks}}\n",
        "a value twice in label_map": f"{two}label_map: {{0: a, 0: b, 1: b}}\n{_SPLITS}",
        "classes that are numbers": f"classes: [1, 2]\n{_SPLITS}",
        "70,000 classes": f"classes: [{', '.join(f'c{k}' for k in range(70_000))}]\n{_SPLITS}",
        "label_map of 10^30": f"{two}label_map: {{1{'0' * 30}: a, 1: b}}\n{_SPLITS}",
        "label_map of NaN": f"{two}label_map: {{.nan: a, .inf: b}}\n{_SPLITS}",
        "a palette of text": f"{two}palette: [red, green]\n{_SPLITS}",
        "a list as a class": f"classes: [[a], {{b: 1}}]\n{_SPLITS}",
        "a list as a class in colors": f"{two}colors: {{[a]: [1, 2, 3], b: [4, 5, 6]}}\n{_SPLITS}",
        "masks outside": f"{two}train: {{images: ../../../../../../proc, masks: /proc}}\n",
        "a null byte in a path": f'{two}train: {{images: "a\\0b", masks: masks}}\n',
        "a path of 5,000 letters": f"{two}train: {{images: {'a' * 5000}, masks: masks}}\n",
    }
    stars = f"{two}train: {{images: images/{'*a' * 14}b.png, masks: masks/{'*a' * 14}b.png}}\n"
    everything = {name: (text, no_fault) for name, text in structures(canary).items()}
    everything |= {name: (text, must_refuse) for name, text in odd.items()}
    everything["patterns of many stars"] = (stars, no_fault)
    for k, (name, (text, fault)) in enumerate(everything.items()):
        root = pair(folder / f"data{k}", name="a" * 40 if "stars" in name else "a")
        (root / "dataset.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        yield Case(f"dataset.yaml: {name}", first_sample, (root,), fault)
    pipe = pair(folder / "pipe")
    os.mkfifo(pipe / "dataset.yaml")
    yield Case("dataset.yaml: a pipe", first_sample, (pipe,), must_refuse)


def config_cases(run: Path, folder: Path, canary: Path) -> Iterator[Case]:
    """Cases of `rtseg fit --config`."""
    odd = {
        "a key twice": "model: {name: rtformer_slim, name: ddrnet_23_slim}\n",
        "a rate of NaN": "model: {optim: {lr: .nan}}\n",
        "a rate of infinity": "model: {optim: {lr: .inf}}\n",
        "a rate of 1e400": "model: {optim: {lr: 1e400}}\n",
        "class weights of NaN": f"model: {{loss: {{class_weights: [{', '.join(['.nan'] * 11)}]}}}}\n",
        "a batch of 10^30": f"data: {{batch_size: 1{'0' * 30}}}\n",
        "a crop of 10^9": "data: {crop_size: [1000000000, 1000000000]}\n",
        "10^9 channels": "model: {options: {base_channels: 1000000000}}\n",
        "-5 workers": "data: {num_workers: -5}\n",
        "10^30 workers": f"data: {{num_workers: 1{'0' * 30}}}\n",
        "a class of Python's": "trainer: {callbacks: [{class_path: builtins.object}]}\n",
        "a model of text with code": f'model: {{name: \'__import__("os").system("touch {canary}")\'}}\n',
        "an attention of 10,000 brackets": f"model: {{attention: '{'(' * 10_000}'}}\n",
        "an unknown key with an escape code": '"mo\\edel": 1\n',
        "a folder as weights": "model: {weights: /proc}\n",
    }
    everything = {name: (text, no_fault) for name, text in structures(canary).items() if name != "nothing"}
    everything |= {name: (text, must_refuse) for name, text in odd.items()}
    base = run.parent / "base.yaml"  # `folder` is emptied after each case
    base.write_text(yaml.safe_dump(_config(run.parent / "data")))
    for k, (name, (text, fault)) in enumerate(everything.items()):
        file, output = folder / f"config{k}.yaml", folder / f"run{k}"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        yield command_case(
            f"--config: {name}", "fit", "--config", base, "--config", file, "--output", output, fault=fault
        )
    pipe = folder / "pipe.yaml"
    os.mkfifo(pipe)
    yield command_case("--config: a pipe", "fit", "--config", pipe, fault=must_refuse)


def _config(data: Path) -> dict[str, Any]:
    """Configuration of a training of two steps, over which a hostile file is merged."""
    return {
        "model": {"options": materials.OPTIONS},
        "data": {"dataset": "camvid", "root": str(data), "batch_size": 2, "crop_size": [32, 48], "num_workers": 0},
        "trainer": {"accelerator": "cpu", "max_steps": 2, "enable_progress_bar": False},
        "fps": {"enabled": False},
    }


def card_cases(weights: Path, folder: Path, canary: Path) -> Iterator[Case]:
    """Cases of a folder of safetensors, through its `config.json`."""
    whole = json.loads((weights / "config.json").read_text())
    card = {key: value for key, value in whole.items() if key in _CARD}
    count = card["num_classes"]
    plugin = folder / "plugin.py"
    changes: dict[str, dict[str, Any]] = {
        "10^9 classes": {"num_classes": 10**9}, "-1 classes": {"num_classes": -1},
        "True classes": {"num_classes": True},
        "10^40 classes": {"num_classes": 10**40, "class_names": [], "palette": [], "ids": []},
        "only 10^9 classes": {"num_classes": 10**9, "class_names": [], "palette": [], "ids": []},
        "an id of -1": {"ids": [*range(count - 1), -1]}, "an id of 70000": {"ids": [*range(count - 1), 70000]},
        "an id of 10^30": {"ids": [*range(count - 1), 10**30]}, "ids that are equal": {"ids": [0] * count},
        "a std of 1e-320": {"std": [1e-320, 1, 1]}, "a std of NaN": {"std": [float("nan"), 1, 1]},
        "a std of 0": {"std": [0, 1, 1]}, "a mean of 1e308": {"mean": [1e308, 0, 0]},
        "a mean of text": {"mean": "abc"}, "an evaluation at 10^9": {"eval_resize": [10**9, 10**9]},
        "an evaluation at 1": {"eval_resize": [1, 1]}, "an evaluation at 30000": {"eval_resize": [30000, 60000]},
        "10^9 channels": {"options": {"base_channels": 10**9}}, "unknown options": {"options": {"x": {"y": [1]}}},
        "an attention of brackets": {"attention": "(" * 10_000}, "a list as a model": {"model": ["rtformer_slim"]},
        "a path as a model": {"model": "../../etc/passwd"}, "an escape code in a model": {"model": "rt\x1b[31m"},
        "an escape code in a class": {"class_names": ["\x1b[31m", *map(str, range(count - 1))]},
        "a class of 1 MB": {"class_names": ["a" * 1_000_000, *map(str, range(count - 1))]},
        "half a surrogate in a class": {"class_names": ["\ud800", *map(str, range(count - 1))]},
        "a plug-in": {"plugins": [str(plugin)], "model": "mine"}, "a head of text": {"head": "__class__"},
        "an unknown key": {"\x1b[31m": 1}, "a part of a number": {"part": 3},
    }  # fmt: skip
    texts: dict[str, str | bytes] = {
        "100,000 brackets": "[" * 100_000, "5,000 maps": '{"a":' * 5000 + "1" + "}" * 5000, "a list": "[]",
        "a number": "1",
        "a number of 100,000 digits": '{"num_classes": ' + "9" * 100_000 + "}", "nothing": "",
        "no text": b"\xff\xfe\0\1",
        "a card of another": json.dumps({"architectures": ["Bert"], "vocab_size": 1}),
        **{name: json.dumps(card | change) for name, change in changes.items()},
    }  # fmt: skip
    plugin_code = f"open({str(canary)!r}, 'w').close()\n"
    for k, (name, text) in enumerate(texts.items()):
        plugin.write_text(plugin_code)
        root = folder / f"weights{k}"
        root.mkdir()
        (root / "model.safetensors").symlink_to(weights / "model.safetensors")
        (root / "config.json").write_bytes(text.encode() if isinstance(text, str) else text)
        image = next(pair(folder / f"shown{k}").glob("images/*"))
        yield command_case(f"config.json: {name}", "predict", root, image, "-o", folder / f"predicted{k}")


def mask_cases(folder: Path, damaged: dict[str, bytes]) -> Iterator[Case]:
    """Label files that are hostile images, or hold what no class is."""
    for k, (name, content) in enumerate(damaged.items()):
        root = pair(folder / f"mask{k}")
        (root / "dataset.yaml").write_text(f"classes: [a, b]\n{_SPLITS}")
        (root / "masks" / "a.png").write_bytes(content)
        yield Case(f"mask: {name}", first_sample, (root,), must_refuse if "claims" in name else no_fault)


def pair(root: Path, name: str = "a") -> Path:
    """A folder of one image and its mask."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
        pixels = np.zeros((8, 8, 3) if part == "images" else (8, 8), np.uint8)
        Image.fromarray(pixels).save(root / part / f"{name}.png")
    return root


def first_sample(root: Path) -> str:
    """Reads a folder's description, then its first image and mask."""
    from rtseg.data import create_dataset

    dataset = create_dataset("folder", root, "train")
    return f"{len(dataset)} pairs, the first of {dataset[0].image.shape}"
