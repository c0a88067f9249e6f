"""ImageNet pre-training of the backbones: a program on the library, `python -m pretrain`."""
