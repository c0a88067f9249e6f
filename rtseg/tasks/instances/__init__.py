"""Instance segmentation: Mask R-CNN with attention at any level, on data in COCO's format. See docs/instances.md."""
