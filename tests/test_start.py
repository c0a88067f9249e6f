"""What commands import: nothing heavy for a wrong path, and little beside torch for an image."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.segmenters import small

ROOT = Path(__file__).parents[1]
# A command with a path that leads nowhere or cannot be written to: what its answer names.
WRONG = {
    "rtseg predict lost.ckpt image.png -o new": "lost.ckpt",
    "rtseg predict net lost.png -o new": "lost.png",
    "rtseg predict net lost*.png -o new": "lost*.png",
    "rtseg predict paddleseg/rtformer_slim_ade2k image.png -o new": "paddleseg/rtformer_slim_ade20k",
    "rtseg predict paddleseg/rtformer_slim_ade20k image.png -o new": "'http://mirror/dygraph/ade20k/",
    "rtseg predict net image.png -o full": "full",
    "rtseg predict net image.png -o new --polygons out.txt": "end in .json",
    "rtseg predict net image.png -o new --polygons image.png/out.json": "image.png",
    "rtseg predict net image.png -o new --overwrite --polygons folder.json": "this is a folder",
    "rtseg predict net image.png -o new --labels voc": "coco, cvat, labelme",
    "rtseg predict net image.png -o image.png/new": "image.png/new",
    "rtseg serve lost.ckpt": "lost.ckpt",
    "rtseg serve net --port 70000": "from 0 to 65535",
    "rtseg serve net --max-bytes 0": "--max-bytes 0",
    "rtseg predict lost.ckpt camera:0 -o new": "lost.ckpt",
    "rtseg predict net camera:front -o new": "as in camera:0",
    "rtseg predict net rtps://ann:secret@cam/live -o new": "'rtps://***@cam/live': rtps:// is not read",
    "rtseg predict net image.png camera:0 -o new": "2 sources are given",
    "rtseg predict net camera:0 -o new --deadline 33": "as 33ms or 0.05s",
    "rtseg predict net image.png -o new --reconnect": "--reconnect is for cameras and streams",
    "rtseg instances predict image.png rtsp://a:secret@cam -o new": "'rtsp://***@cam' is a camera or a stream",
    "rtseg convert-labels lost.json -o new": "lost.json",
    "rtseg convert-labels net -o full": "full",
    "rtseg convert-labels net -o image.png/new": "image.png/new",
    "rtseg convert-labels net -o new --images lost": "lost",
    "rtseg convert-labels net -o new --unlabelled class": "background",
    "rtseg score lost net --classes 3": "lost",
    "rtseg score net lost --classes 3": "lost",
    "rtseg score net image.png --classes 3": "is a file",
    "rtseg score net net": "--classes NUMBER",
    "rtseg score net net --data camvid --ignore 3": "--ignore goes with --classes",
    "rtseg score net net --classes 3 -o result.json": "result.json",
    "rtseg score net net --classes 3 --picture new.jpg": "ends in .png",
    "rtseg validate --ckpt_path recipe.yaml -o result.json": "result.json",
    "rtseg benchmark lost.onnx": "lost.onnx",
    "rtseg benchmark rtformer_slim --image lost.png": "lost.png",
    "rtseg benchmark rtformer_slim --data lost": "lost",
    "rtseg benchmark rtformer_slim -o image.png/new.json": "image.png",
    "rtseg export lost/best.ckpt -o new.onnx": "lost/best.ckpt",
    "rtseg export net -o image.png/new.onnx": "image.png",
    "rtseg benchmark rtformer_slim -o result.json": "result.json",
    "rtseg export net -o result.onnx": "result.onnx",
    "rtseg export net -o new.onnx --image lost.png": "lost.png",
    "rtseg export net -o new.xml --int8 --data lost": "lost",
    "rtseg verify lost.onnx": "lost.onnx",
    "rtseg page lost.ckpt -o new": "lost.ckpt",
    "rtseg page net -o full": "full",
    "rtseg page net -o new --runtime lost": "lost",
    "rtseg page net -o new --example lost.png": "lost.png",
    "rtseg convert lost.pdparams -o new": "lost.pdparams",
    "rtseg convert net -o new": "net",
    "rtseg convert image.png -o full": "full",
    "rtseg push lost.ckpt somebody/net": "lost.ckpt",
    "rtseg push net somebody": "'somebody' is not a Hugging Face id",
    "rtseg push net somebody/net": "hf auth login",
    "rtseg visualize lost.ckpt image.png": "lost.ckpt",
    "rtseg visualize net lost.png": "lost.png",
    "rtseg visualize net image.png -o image.png/new": "image.png/new",
    "rtseg report lost": "lost",
    "rtseg check-data lost": "lost",
    "rtseg check-data net --json result.json": "result.json",
    "rtseg check-data net --html image.png/new.html": "image.png",
    "rtseg replay lost": "lost",
    "rtseg replay net": "net",
    "rtseg compare --config recipe.yaml --data lost --epochs 1": "lost",
    "rtseg compare --data net --epochs 1 --config lost.yaml": "lost.yaml",
    "rtseg compare -o image.png/new": "image.png/new",
    "rtseg instances compare --config mask_rcnn_thing": "mask_rcnn_things",
    "rtseg instances compare -o image.png/new": "image.png/new",
    "rtseg instances compare --config psmnet_demo": "`rtseg stereo compare`",
    "rtseg compare --insert table9": "table9",
    "rtseg stereo compare --insert layer4": "layer4=fa",
    "rtseg stereo compare --insert layer4=af:basis=8": "--insert 'layer4=af:basis=8': unknown attention 'af'. Did",
    "rtseg compare --attention gfa+sla": "unknown attention 'sla'. Did you mean 'sa'?",
    "rtseg instances compare --insert layer3=fa --insert layer3=fa": "given twice",
    "rtseg stereo compare --config recipe.yaml --data lost --epochs 1": "lost",
    "rtseg fit --config lost.yaml": "lost.yaml",
    "rtseg fit --config rtformer_slim_camvit": "rtformer_slim_camvid",
    "rtseg test --config=net": "net",
    "pretrain fit --config lost.yaml": "lost.yaml",
    "rtseg fit --ckpt_path lost.ckpt": "lost.ckpt",
    "rtseg fit --ckpt_path=net": "net",
    "rtseg validate --ckpt_path=lost.ckpt": "lost.ckpt",
    "rtseg test --data.root=lost": "lost",
    "rtseg fit --model.weights=./lost": "lost",
    "rtseg fit --model.weights=paddleseg/rtformer_slim_imagenet": "unpack it, run `rtseg convert model.pdparams",
    "rtseg fit --output image.png/new": "image.png/new",
    "rtseg fit --output": "--output needs a value: folder of the run",
    "rtseg fit --config recipe.yaml --output trained": "holds results (last.ckpt)",
    "rtseg fit --config trained.yaml": "resume it with --ckpt_path runs/trained/last.ckpt",
    "rtseg fit --config rtformer_slim_camvid": "'data/camvid' does not exist",
    "rtseg fit --config rtformer_slim_ade20k --output new": "'data/ADEChallengeData2016' does not exist",
    "rtseg fit --auto rtformer_slim_camvid": "--config NAME",
    "rtseg fit --resume trained": "--ckpt_path RUN/last.ckpt",
    "rtseg fit --lr 3": "--model.optim.lr?",
    "rtseg fit --batch-size=3": "--data.batch_size?",
    "rtseg fit --epochs 3": "--trainer.max_epochs?",
    "rtseg stereo fit --config psmnet_demo": "'runs/stereo_data' does not exist",
    "pretrain fit --config rtformer_slim_in1k": "'data/imagenet' does not exist",
    "rtseg convert --model psmnet lost.tar -o new": "lost.tar",
    "rtseg stereo fit --config psmnet_dem": "psmnet_demo",
    "rtseg stereo validate --ckpt_path=lost.ckpt": "lost.ckpt",
    "rtseg stereo predict lost.ckpt image.png image.png -o new": "lost.ckpt",
    "rtseg stereo predict net image.png lost.png -o new": "lost.png",
    "rtseg stereo predict net image.png image.png -o full": "full",
    "rtseg stereo predict net image.png full -o new": "give two images, or two folders",
    "rtseg stereo replay lost": "lost",
    "rtseg instances fit --config mask_rcnn_thing": "mask_rcnn_things",
    "rtseg instances fit --model.weights lost.pth": "lost.pth",
    "rtseg instances validate --ckpt_path lost.ckpt": "lost.ckpt",
    "rtseg instances predict lost.ckpt image.png -o new": "lost.ckpt",
    "rtseg instances predict recipe.yaml lost.png -o new": "lost.png",
    "rtseg instances predict recipe.yaml image.png -o full": "full",
    "rtseg instances replay lost": "lost",
    "pretrain fit --data.root lost": "lost",
    "pretrain validate --ckpt_path lost.ckpt": "lost.ckpt",
    "pretrain export lost.ckpt -o new": "lost.ckpt",
    "pretrain replay lost": "lost",
    "pretrain check-data lost": "lost",
    "pretrain make-shards lost -o new": "lost",
    "pretrain index-shards lost": "lost",
    "pretrain index-shards net --classes lost.txt": "lost.txt",
    "pretrain curves lost -o new.svg": "lost",
    "pretrain transfer-check lost --data net": "lost",
    "pretrain transfer-check net --data lost": "lost",
}
ALONE = {"PYTHONPATH": str(ROOT), "RTSEG_MIRROR": "http://mirror", "RTSEG_CACHE": "cache", "HF_HOME": "none"}
PROGRAM = f"""
import sys
import pretrain.commands, rtseg.cli
try:
    rtseg.cli.main(["fit", "--help"])
except SystemExit as end:
    assert not end.code
commands = {{"rtseg": rtseg.cli.main, "pretrain": pretrain.commands.main}}
for line in {list(WRONG)!r}:
    program, *words = line.split()
    print(line, file=sys.stderr)
    try:
        commands[program](words)
    except SystemExit as end:
        assert end.code == 2, end.code
    else:
        sys.exit("it was not refused")
    heavy = {{"torch", "numpy", "cv2", "jsonargparse", "rich.progress"}} & sys.modules.keys()
    assert not heavy, heavy
"""


def test_a_wrong_path_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    for folder in ("net", "full", "folder.json", "trained", "runs/trained"):
        (tmp_path / folder).mkdir(parents=True)
    trained = ("trained.yaml", "trained/last.ckpt", "runs/trained/last.ckpt")
    for file in ("image.png", "full/result.png", "recipe.yaml", "result.json", "result.onnx", *trained):
        (tmp_path / file).write_text("data: {}\n")
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, env=ALONE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert sorted(tmp_path.rglob("*")) == before, "and nothing is made"
    lines = done.stderr.splitlines()
    assert lines[::2] == list(WRONG), "each answer is one line"
    for (command, named), answer in zip(WRONG.items(), lines[1::2], strict=True):
        assert answer.startswith("error: "), command
        assert named in answer, command


PREDICT = """
import sys
from rtseg.cli import main
try:
    main("predict net image.png -o new --device cpu".split())
except SystemExit as end:
    assert not end.code
elsewhere = "lightning torchmetrics albumentations jsonargparse timm torchvision transformers onnx onnxruntime openvino"
slow = {*elsewhere.split(), "triton", "torch._dynamo", "sympy", "jinja2"} & sys.modules.keys()
assert not slow, slow
import rtseg.speed.benchmark
slow = {"lightning", "torchmetrics", "albumentations", "jsonargparse", "timm"} & sys.modules.keys()
assert not slow, slow
"""


def test_what_predict_imports_beside_torch(tmp_path: Path) -> None:
    """timm alone takes as long as torch; drop path was all that was used of it."""
    small().save_pretrained(tmp_path / "net")
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((32, 32, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", PREDICT],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert (tmp_path / "new" / "image.png").is_file()
