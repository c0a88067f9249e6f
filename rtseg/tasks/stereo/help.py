"""What `--help` of `rtseg stereo fit` and `validate` shows, see `rtseg.training.help`."""

from rtseg.training.help import DEVICES, LENGTH, RUN, SCORED, SCORED_NEEDS, WORKERS, Page, Setting

_CONFIG = Setting("config", "a YAML file, or a name such as psmnet_demo")
_DATA = (
    Setting("data.dataset", "or kitti2015, …: docs/stereo.md", "sceneflow"),
    Setting("data.root", "folder of the data set"),
    Setting("data.bad", "broken pairs: refuse or skip", "refuse"),
)
SETTINGS = {
    "fit": (
        _CONFIG, *RUN,
        Setting("model.max_disparity", "a multiple of 16; larger ones do not count", 192),
        Setting("model.insert", "attention, as {layer4: \"fa:basis=64:heads=1\"}"),
        Setting("model.weights", "start from a .ckpt or a folder"),
        Setting("model.ema_decay", "moving average of the weights; 0: none", 0.0),
        Setting("model.optim.lr", "learning rate for lr_batch_size pairs", 0.001),
        *_DATA,
        Setting("data.batch_size", "pairs of a step, over all devices", 12),
        Setting("data.crop_size", "height and width of crops", [256, 512]),
        WORKERS, *LENGTH, *DEVICES,
    ),
    "validate": (
        _CONFIG, SCORED, Setting("model.weights", "folder to score instead"), *_DATA,
        Setting("data.eval_batch_size", "pairs at a time", 1),
        WORKERS, *DEVICES,
    ),
}  # fmt: skip
PAGES = {
    "fit": Page(
        "rtseg stereo fit",
        "Train PSMNet. A configuration gives the settings, flags change them.",
        SETTINGS["fit"],
        ("--config psmnet_demo", "--config psmnet_sceneflow --data.root ~/sceneflow --auto"),
    ),
    "validate": Page(
        "rtseg stereo validate",
        "Score a checkpoint, which brings its settings: end-point errors, bad pixels.",
        SETTINGS["validate"],
        ("--ckpt_path runs/a/best.ckpt --data.root ~/sceneflow",),
        SCORED_NEEDS,
    ),
}
