"""The loss of a given output of a masked model."""

import torch
from torch import Tensor

from saccade.data.preprocessing import Preprocessing
from saccade.models.mae import MaskedOutput
from saccade.tasks.masked_image.task import MaskedImageTask
from tests.photos import batch_of

PLAIN = Preprocessing((4, 4), mean=(0.0,) * 3, std=(1.0,) * 3)


def masked_loss(task: MaskedImageTask, output: MaskedOutput, images: Tensor) -> Tensor:
    """The mean over the masked patches, as training computes it for a model with this output."""
    batch = batch_of(images)._replace(labels={"noise": torch.zeros(output.mask.shape)})
    terms = task.train_step(lambda images, noise: output, batch)  # type: ignore[arg-type]
    return terms.value({"masked patches": output.mask.sum()})
