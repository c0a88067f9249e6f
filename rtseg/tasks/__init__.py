"""Networks for other tasks than semantic segmentation, each with its data, its training and its commands."""
