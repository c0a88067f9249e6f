"""What `--help` of `python -m pretrain fit` and `validate` shows, see `rtseg.training.help`."""

from rtseg.training.help import DEVICES, LENGTH, MODEL, RUN, SCORED, SCORED_NEEDS, WORKERS, Page, Setting

_CONFIG = Setting("config", "a YAML file, or a name: rtformer_slim_in1k")
_ROOT = Setting("data.root", "folder of train/ and val/, or URL of shards")
SETTINGS = {
    "fit": (
        _CONFIG, *RUN, *MODEL,
        Setting("model.ema_decay", "moving average of the weights; 0: none", 0.0),
        Setting("model.optim.lr", "learning rate", 0.0005),
        Setting("model.optim.weight_decay", "decay of all but norms and biases", 0.04),
        _ROOT,
        Setting("data.batch_size", "images of a step, over all devices", 1024),
        Setting("data.device_batch_size", "most images at a time on one device", 128),
        WORKERS, *LENGTH, *DEVICES,
    ),
    "validate": (_CONFIG, SCORED, _ROOT, WORKERS, *DEVICES),
}  # fmt: skip
PAGES = {
    "fit": Page(
        "python -m pretrain fit",
        "Train a classifier. A configuration gives the settings, flags change them.",
        SETTINGS["fit"],
        ("--config rtformer_slim_in1k --data.root in1k --auto", "--config my.yaml --output runs/a"),
    ),
    "validate": Page(
        "python -m pretrain validate",
        "Score a checkpoint: top-1 and top-5. The checkpoint brings its settings.",
        SETTINGS["validate"],
        ("--ckpt_path runs/a/best.ckpt", "--ckpt_path runs/a/best.ckpt --data.root in1k"),
        SCORED_NEEDS,
    ),
}
