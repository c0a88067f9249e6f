"""What the tests of engines share."""

import torch

CPU = torch.device("cpu")
