"""Classification with a teacher (Hinton et al., arXiv 1503.02531; Touvron et al., arXiv 2012.12877).

    hard    (1 - α) CE(y, label)  +  α CE(y', the teacher's best class)
    soft    (1 - α) CE(y, label)  +  α τ² KL(softmax(t / τ) ‖ softmax(y' / τ))

y are the student's logits, t the teacher's. y' is y, or the answer of a second head, that of a distillation token.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.tasks.classification import ClassificationTask

Outputs = Tensor | tuple[Tensor, Tensor]  # logits [B, K]; or of the head for labels and of the one for the teacher
Kind = Literal["hard", "soft"]


class DistillationTask(ClassificationTask):
    """One label an image, and what a teacher says of the same augmented image.

    Args:
        labels: K class names, in the order of the logits.
        teacher: images as the student sees them ``[B, C, H, W]`` -> the teacher's logits ``[B, K]`` for these classes.
        kind: whether the teacher's best class counts, or all that it says.
        alpha: α in [0, 1], the teacher's share of the loss; at 0 the teacher is not asked.
        temperature: τ of the soft kind.
        label_smoothing: of the labels' part.
    """

    def __init__(
        self,
        labels: Sequence[str],
        teacher: Callable[[Tensor], Tensor],
        *,
        kind: Kind = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        label_smoothing: float = 0.0,
    ):
        super().__init__(labels, label_smoothing=label_smoothing)
        if not 0 <= alpha <= 1:
            raise ConfigError(f"distillation.alpha must lie in [0, 1], not {alpha}")
        if temperature <= 0:
            raise ConfigError(f"distillation.temperature must be positive, not {temperature}")
        self.teacher, self.kind, self.alpha, self.temperature = teacher, kind, alpha, temperature

    @property
    def smallest_loss(self) -> float:
        """Of a student that agrees with labels and teacher."""
        return (1 - self.alpha) * super().smallest_loss

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        label, student = outputs if isinstance(outputs, tuple) else (outputs, outputs)
        base = super().loss(label, batch)
        if self.alpha == 0:
            return base
        with torch.no_grad():
            said = self.teacher(batch.inputs).float()
        return (1 - self.alpha) * base + self.alpha * self.distance(student.float(), said)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """How far the student's logits ``[B, K]`` are from the teacher's, in nats."""
        if self.kind == "hard":
            return F.cross_entropy(student, teacher.argmax(dim=1))
        tau = self.temperature
        logs = [(logits / tau).log_softmax(dim=1) for logits in (student, teacher)]
        return tau**2 * F.kl_div(logs[0], logs[1], log_target=True, reduction="batchmean")

    def score(self, outputs: Outputs, batch: Batch) -> Tensor:
        """By the mean of both heads, where there are two."""
        return super().score((outputs[0] + outputs[1]) / 2 if isinstance(outputs, tuple) else outputs, batch)
