"""The teacher of a distillation run: any checkpoint with the classes, with its own preprocessing."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.checkpoints.loading import load_model
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError


class Teacher:
    """The student's input images ``[B, C, H, W]`` -> the teacher's logits for the student's classes ``[B, K]``.

    Args:
        path: a run, a model directory, a published file or hub:ORG/NAME.
        classes: the student's; the teacher must have each by name, and may have more.
        student: the student's preprocessing; images are converted to the teacher's size and statistics.
        device: where both run.

    Raises:
        ConfigError: the teacher lacks a class, or does not record its preprocessing.
    """

    def __init__(self, path: str | Path, classes: tuple[str, ...], student: Preprocessing, device: torch.device):
        loaded = load_model(path)
        if loaded.preprocessing is None:
            raise ConfigError(f"the teacher {path} does not record how images are prepared for it")
        place = {label: index for index, label in enumerate(loaded.labels)}
        strangers = [name for name in classes if name not in place]
        if strangers:
            raise ConfigError(f"the teacher {path} has no class {', '.join(strangers[:8])}")
        self.columns = torch.tensor([place[name] for name in classes], device=device)
        self.model = loaded.model.eval().requires_grad_(False).to(device)
        self.student, self.own = student, loaded.preprocessing

    def __call__(self, images: Tensor) -> Tensor:
        return self.model(self.translated(images))[:, self.columns]

    def translated(self, images: Tensor) -> Tensor:
        """Convert images from the student's statistics, channels and size to the teacher's."""
        images = self.student.levels(images)
        if self.own.channels != self.student.channels:
            images = images.mean(dim=1, keepdim=True).expand(-1, self.own.channels, -1, -1)
        if self.own.size != self.student.size:
            images = F.interpolate(images, self.own.size, mode="bilinear", align_corners=False, antialias=True)
        return self.own.standardise(images)
