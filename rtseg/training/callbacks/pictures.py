"""A look at what the network sees: validation pictures with prediction and truth beside them, at every validation."""

from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from rtseg.deploy.overlay import colorize
from rtseg.models.segmenter import Segmenter
from rtseg.training.callbacks.decoration import Decoration

WIDTH = 320  # of each picture in the grid, pixels


class PredictionPictures(Decoration):
    """Writes a grid, one row an image: image, prediction, truth; to TensorBoard and as `pictures/step_<step>.jpg` in
    the run's folder.

    Args:
        count: how many images, spread over the validation set.
    """

    def __init__(self, count: int = 6) -> None:
        self.count = count
        self._rows: list[np.ndarray] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        total = int(trainer.num_val_batches[0])
        chosen = {round(k * (total - 1) / max(self.count - 1, 1)) for k in range(self.count)}
        if batch_idx in chosen:
            card = cast(Segmenter, pl_module.segmenter).card
            truth = colorize(_numpy(batch.mask), card.palette)
            pred = colorize(_numpy(outputs), card.palette)
            size = (WIDTH, round(WIDTH * truth.shape[0] / truth.shape[1]))
            panels = [_numpy(batch.image.permute(1, 2, 0)), pred, truth]
            self._rows.append(np.concatenate([np.asarray(Image.fromarray(panel).resize(size)) for panel in panels], 1))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        grid = np.concatenate(rows, 0)
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grid).save(folder / f"step_{trainer.global_step:06d}.jpg", quality=88)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/image_prediction_truth", grid, trainer.global_step, dataformats="HWC")


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.byte().cpu().numpy()
