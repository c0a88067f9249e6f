"""Instance segmentation: Mask R-CNN with attention at any level, on data in COCO's format. See docs/instances.md."""

IMAGENET, COCO = "imagenet", "coco"  # weights that torchvision publishes, by name: of a body, of a whole network
