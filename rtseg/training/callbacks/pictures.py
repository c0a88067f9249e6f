"""A look at what the network sees: validation images with prediction, truth and errors, at every validation."""

from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from rtseg.data.choice import choose_images
from rtseg.data.dataset import default_palette
from rtseg.data.image_space import shown_image
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.models.segmenter import Segmenter
from rtseg.output.examples import Example, grid, shrunk, write_examples
from rtseg.training.callbacks.decoration import Decoration
from rtseg.training.datamodule import SegmentationData

WIDTH = 320  # of each panel in the grid, pixels
_MOST = 2  # times `count`, where so many images are needed to show every class


class PredictionPictures(Decoration):
    """Writes some validation images into the run's folder, the same ones at every validation.

    `pictures/step_<step>.jpg` and TensorBoard get a grid, one row an image: image, prediction, truth, wrong pixels.
    `pictures/step_<step>/` gets the parts, which `rtseg report` shows; see `rtseg.output.examples`. The colours are
    those of overlays.

    Args:
        count: how many images. They are chosen so that together they show every class; up to twice as many where that
            takes more. Of several processes the first one's share of the images counts.
    """

    def __init__(self, count: int = 6) -> None:
        self.count = count
        self._names: dict[int, str] | None = None  # number of the batch -> name of its image
        self._examples: list[Example] = []

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
        if self._names is None:
            self._names = self._choose(trainer)
        if batch_idx in self._names:
            name = self._names[batch_idx] or batch.name
            truth, prediction = _numpy(batch.mask), _numpy(outputs)
            image, card = batch.image.permute(1, 2, 0), cast(Segmenter, pl_module.segmenter).card
            if card.channels is None:
                pixels = _numpy(image)
            else:
                pixels = shown_image(image.cpu().numpy(), card.shown_channels, card.mean, card.std)
            self._examples.append(shrunk(Example(name, pixels, prediction, truth)))

    def _choose(self, trainer: L.Trainer) -> dict[int, str]:
        """The batches to show, with the names of their files where these are known."""
        total = int(trainer.num_val_batches[0])
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, SegmentationData):
            return {round(k * (total - 1) / max(self.count - 1, 1)): "" for k in range(self.count)}
        dataset, loader = data.split("val"), cast(Any, trainer.val_dataloaders)
        batches = {index: k for k, index in enumerate(list(loader.sampler)[:total])}
        chosen = choose_images(dataset, list(batches), self.count, _MOST * self.count)
        return {batches[index]: Path(dataset.pairs[index][0]).name if dataset.reads_files else "" for index in chosen}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        examples, self._examples = self._examples, []
        if not examples:
            return
        card = cast(Segmenter, pl_module.segmenter).card
        palette = distinct_colors(card.palette or default_palette(card.num_classes))
        folder = Path(trainer.default_root_dir) / "pictures" / f"step_{trainer.global_step:06d}"
        write_examples(folder, examples, palette)
        overview = grid(examples, palette, WIDTH)
        Image.fromarray(overview).save(folder.with_suffix(".jpg"), quality=88)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/examples", overview, trainer.global_step, dataformats="HWC")


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.byte().cpu().numpy()
