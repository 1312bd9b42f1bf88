"""Classification with a teacher (Hinton et al., arXiv 1503.02531; Touvron et al., arXiv 2012.12877).

    hard    (1 - α) CE(y, label)  +  α CE(y', the teacher's best class)
    soft    (1 - α) CE(y, label)  +  α τ² KL(softmax(t / τ) ‖ softmax(y' / τ))

y are the student's logits, t the teacher's. y' is y, or the output of a second head, that of a distillation token.

B images, K classes.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.task import LossTerm, LossTerms
from saccade.errors import ConfigError
from saccade.tasks.classification.task import ClassificationTask, correct

Kind = Literal["hard", "soft"]
Heads = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]  # (model, images) -> logits for labels, for the teacher


def one_head(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The same logits ``[B, K]`` for the labels and for the teacher."""
    logits = model(images)
    return logits, logits


class DistillationTask(ClassificationTask):
    """Classification with distillation from the teacher's logits for the same augmented image.

    Args:
        labels: K class names, in the order of the logits.
        teacher: the student's input images ``[B, C, H, W]`` -> the teacher's logits ``[B, K]`` for these classes.
        kind: whether the target is the teacher's best class, or all of its probabilities.
        alpha: α in [0, 1], the weight of the teacher's term; at 0 the teacher is not run.
        temperature: τ of the soft kind.
        label_smoothing, class_weights: label smoothing and class weights of the labels' term.
        heads: the student's logits for the labels and for the teacher, each ``[B, K]``.
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
        class_weights: Tensor | None = None,
        heads: Heads = one_head,
    ):
        super().__init__(labels, label_smoothing=label_smoothing, class_weights=class_weights)
        if not 0 <= alpha <= 1:
            raise ConfigError(f"distillation.alpha must be in [0, 1], not {alpha}")
        if temperature <= 0:
            raise ConfigError(f"distillation.temperature must be positive, not {temperature}")
        self.teacher, self.kind, self.alpha, self.temperature = teacher, kind, alpha, temperature
        self.heads = heads

    @property
    def smallest_loss(self) -> float:
        """The loss of a student that agrees with labels and teacher."""
        return (1 - self.alpha) * super().smallest_loss

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Cross-entropy with the labels and distance from the teacher, in nats; the accuracy of both heads' mean."""
        logits, student = self.heads(model, batch.inputs)
        loss = {"cross-entropy": LossTerm(self.cross_entropy(logits, batch), self.divisor, 1 - self.alpha)}
        if self.alpha:
            with torch.no_grad():
                teacher = self.teacher(batch.inputs).float()
            loss["teacher"] = LossTerm(self.distance(student.float(), teacher), "images", self.alpha)
        else:
            loss["teacher"] = LossTerm(0.0 * student.sum(), "images", 0.0)  # both heads have a gradient
        return LossTerms(loss, {"accuracy": LossTerm(correct((logits + student) / 2, batch), "images")})

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Distance of the student's logits ``[B, K]`` from the teacher's, the sum over images, in nats."""
        if self.kind == "hard":
            return F.cross_entropy(student, teacher.argmax(dim=1), reduction="sum")
        tau = self.temperature
        logs = [(logits / tau).log_softmax(dim=1) for logits in (student, teacher)]
        return tau**2 * F.kl_div(logs[0], logs[1], log_target=True, reduction="sum")
