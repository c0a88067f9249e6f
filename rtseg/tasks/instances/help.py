"""What `--help` of `rtseg instances fit` and `validate` shows. It imports nothing heavy."""

from rtseg.training.help import CONFIG, DEVICES, LENGTH, RUN, SCORED, SCORED_NEEDS, WORKERS, Page, Setting

_MODEL = (
    Setting("model.name", "mask_rcnn_ and [timm:]NAME", "mask_rcnn_resnet50"),
    Setting("model.insert", "attention at places, as --model.insert.layer3=fa"),
    Setting("model.options", "of the network, such as '{channels: 64}'"),
)
_DATA = (
    Setting("data.annotations", "of your own data, such as labels_{split}.json"),
    Setting("data.image_folder", "of your own data, such as images/{split}"),
    Setting("data.broken", "refuse or skip what cannot be used", "refuse"),
    WORKERS,
)
PAGES = {
    "fit": Page(
        "rtseg instances fit",
        "Train Mask R-CNN. A configuration gives the settings, flags change them.",
        (
            CONFIG, *RUN, *_MODEL,
            Setting("model.weights", "imagenet, coco, timm:NAME.TAG, or a weights file"),
            Setting("model.ema_decay", "moving average of the weights; 0: none", 0.0),
            Setting("model.optim.lr", "learning rate for each image", 1.25e-4),
            Setting("data.root", "folder in COCO's layout"),
            Setting("data.batch_size", "images of a step, over all devices", 16),
            *_DATA, *LENGTH, *DEVICES,
        ),
        ("--config mask_rcnn_things", "--config mask_rcnn_resnet50_fa_coco --auto"),
    ),
    "validate": Page(
        "rtseg instances validate",
        "Score a checkpoint, which brings its settings, by COCO's average precision.",
        (CONFIG, SCORED, Setting("data.root", "folder in COCO's layout"), *_DATA, *DEVICES),
        ("--ckpt_path runs/a/best.ckpt --data.root ~/coco",),
        SCORED_NEEDS,
    ),
}  # fmt: skip
