"""Each code block of README and docs runs as it is written: on drawn data, with trainings of two steps.

The programs are the real ones. A small program in front of `rtseg` and `python` shortens what would take hours, by
adding flags at the end of the command.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.helpers.documented import PAGES, ROOT, blocks
from tests.helpers.films import frames, write_film

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("make") is None, reason="no make here")]

# What is not run here, and where it is.
ELSEWHERE = {
    r"make install.*|source .venv/.*|\.venv/bin/pre-commit .*": "by .ci/run",
    r"make (demo|clean-demo).*": "by hand before a release; test_makefile.py runs its steps",
    r"make (lint|test|test-slow|torture|docs).*": "by .ci/run and by hand",
    r"make (benchmark|table2|table3|transfer-check).*": "by hand, hours; test_makefile.py looks at their commands",
    r"rtseg (instances |stereo )?compare .*(--data|table).*": "tests/studies/compare",
    r".*(s3|gs|https?)://.*": "tests/pretrain, against a server on this machine",
    r"rtseg replay .*": "tests/training/test_replay.py, after a step that was not finite",
    r"rtseg convert .*": "tests/models/test_paddle.py, with weights in PaddleSeg's format",
    r"rtseg push .*": "tests/models/test_push.py, to a hub on this machine",
    r"rtseg .*paddleseg/.*": "tests/models/test_published.py, from a server on this machine",
    r"rtseg serve .*": "tests/serve/test_command.py, since it runs until it is stopped",
    r"rtseg predict .* camera:0 .*": "tests/deploy/video/test_live_sources.py: no camera here",
    r"(curl|docker) .*": "tests/serve, with a client of its own; no Docker here",
    r"python -m http\.server .*": "it waits for visitors; tests/page, with a server of its own",
    r"(.* \| *)?ffmpeg .*": "tests/deploy/video: the reader's own ffmpeg, with the one of the extra",
    r"(cd|git|pip|python3? -m venv) .*": "the reader's own folders",
}
# Pages with a test of their own that follows them to the letter.
FOLLOWED = {
    "docs/convert-labels.md",
    "docs/instances.md",
    "docs/plugins.md",
    "docs/attention.md",
    "docs/adding-a-backbone.md",
    "docs/own-images.md",
    "docs/deploy.md",
    "docs/stereo.md",
}

SHORT = """#!/bin/bash
# In front of the real program: what would take hours takes seconds.
program=("{python}" -m {module})
for word in "$@"; do [ "$word" = --help ] && exec "${{program[@]}}" "$@"; done
case "$1" in
    fit) exec "${{program[@]}}" "$@" {fit} ;;
    compare|transfer-check) exec "${{program[@]}}" "$@" {study} ;;
    check-data) exec "${{program[@]}}" "$@" {check} ;;
    benchmark) case " $* " in *" --stream "*) exec "${{program[@]}}" "$@" ;; esac  # a stream has no seconds
        exec "${{program[@]}}" "$@" --seconds 0.02 ;;
    table2) exec "${{program[@]}}" "$@" --seconds 0.02 ;;
    *) exec "${{program[@]}}" "$@" ;;
esac
"""
STEPS = (
    "--trainer.max_steps=2 --trainer.max_epochs=-1 --trainer.val_check_interval=2 --trainer.precision=32-true "
    "--trainer.check_val_every_n_epoch=null --trainer.devices=1 --trainer.accelerator=cpu --data.num_workers=0 "
)
FIT = {
    "rtseg": STEPS + "--data.crop_size=[64,64] --data.batch_size=2 --fps.enabled=false",
    "pretrain": STEPS + "--data.batch_size=4 --data.device_batch_size=4 --data.augment.image_size=32 "
    "--data.expected_classes=null --model.optim.warmup_epochs=0",
}

CHECK = {"rtseg": "", "pretrain": "--num-classes 10"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it who cloned the repository, fetched the data and trained a network."""
    folder = tmp_path_factory.mktemp("house")
    for name in (
        "configs",
        "pretrain",
        "tools",
        "benchmarks",
        "rtseg",
        "tests",
        "docs",
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
    ):
        (folder / name).symlink_to(ROOT / name)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for module in ("rtseg", "pretrain"):
        short = SHORT.format(
            python=sys.executable, module=module, fit=FIT[module], study="--seconds 0.02", check=CHECK[module]
        )
        (programs / module).write_text(short)
        (programs / module).chmod(0o755)
    pretrain = f'[ "$1 $2" = "-m pretrain" ] && exec "{programs}/pretrain" "${{@:3}}"'
    (programs / "python").write_text(f'#!/bin/bash\n{pretrain}\nexec "{sys.executable}" "$@"\n')
    (programs / "python").chmod(0o755)
    (programs / ".installed").touch()
    for layout, name in {
        "camvid": "camvid",
        "ade20k": "ADEChallengeData2016",
        "cityscapes": "cityscapes",
        "imagenet": "imagenet",
    }.items():
        run(folder, f"rtseg make-data --layout {layout} -n 12 --number-val 10 --size 64 96 -o data/{name}")
    scene = next((folder / "data" / "camvid" / "val").iterdir())
    Image.open(scene).resize((480, 360)).save(folder / "street.jpg")
    write_film(folder / "film.mp4", frames(4), "-c:v", "mpeg4")
    (folder / "frames").mkdir()
    for number, image in enumerate(frames(3)):
        Image.fromarray(image).save(folder / "frames" / f"{number:06d}.png")
    run(folder, "rtseg fit --config rtformer_slim_camvid --output runs/of-the-house")
    run(folder, "python -m pretrain fit --config rtformer_slim_in1k --output runs/rtformer_slim_in1k")
    for name in {
        name for page in PAGES for name in re.findall(r"runs/([a-z0-9_]+)/(?:last|best)\.ckpt", page.read_text())
    } - {"rtformer_slim_in1k"}:  # which was pre-trained above
        shutil.copytree(folder / "runs" / "of-the-house", folder / "runs" / name, dirs_exist_ok=True)
    shutil.copytree(folder / "runs" / "of-the-house", folder / "runs" / "demo" / "training")
    shutil.copytree(folder / "runs" / "of-the-house", folder / "RUN")
    (folder / "C").symlink_to(ROOT / "configs" / "rtformer_slim_camvid.yaml")
    own = {
        part: {"images": f"../data/camvid/{part}", "masks": f"../data/camvid/{part}annot"} for part in ("train", "val")
    }
    (folder / "my").mkdir()
    (folder / "my" / "dataset.yaml").write_text(yaml.dump({"classes": [f"class {k}" for k in range(11)], **own}))
    shutil.copytree(folder / "data" / "camvid", folder / "runs" / "demo" / "data")
    return folder


def run(folder: Path, script: str) -> None:
    """Runs a script as a reader's shell would, and shows all that it said where it fails."""
    path = f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_each_block_runs(page: Path, house: Path, tmp_path: Path) -> None:
    if str(page.relative_to(ROOT)) in FOLLOWED:
        pytest.skip("a test of its own follows it")
    for number, script in enumerate(blocks(page)):
        folder = tmp_path / str(number)
        shutil.copytree(house, folder, symlinks=True)
        lines = script.replace("\\\n", " ").replace("|\n", "| ").splitlines()
        for name in re.findall(r"fit (?!.*--ckpt_path).*--config (\w+)", script):
            shutil.rmtree(folder / "runs" / name, ignore_errors=True)  # this page trains it
        here = [line for line in lines if not any(re.fullmatch(pattern, line.strip()) for pattern in ELSEWHERE)]
        run(folder, "\n".join(here))
