"""From files on disk to augmented samples: one data set a file, found by name."""

from rtseg.data import ade20k, camvid, cityscapes, folder  # noqa: F401  (importing a file registers its data sets)
from rtseg.data.dataset import create_dataset, label_space, list_datasets, register_dataset

__all__ = ["create_dataset", "label_space", "list_datasets", "register_dataset"]
