"""Text samples, and their collation into batches of padded token ids.

B samples, L and M tokens of source and target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from saccade.data.samples import Batch


@dataclass(frozen=True)
class TextSample:
    """A source (token ids ``[L]`` or an image ``[C, H, W]``), its target ``[M]``, and other labels by name."""

    source: Tensor
    target: Tensor
    name: str
    index: int
    skipped: str = ""
    labels: dict[str, Tensor] = field(default_factory=dict)


def text_batch(
    inputs: Tensor, samples: Sequence[TextSample], padding: int, labels: Mapping[str, Tensor] | None = None
) -> tuple[Batch, list[str]]:
    """Samples as a batch, and a line for each broken image that was skipped.

    Args:
        inputs: inputs of the samples, ``[B, L]`` token ids or images ``[B, C, H, W]``.
        samples: samples whose targets are padded to one length, ``[B, M]``.
        padding: padding value of the targets.
        labels: further labels by name, ``[B, ...]``.
    """
    target = pad_sequence([s.target for s in samples], batch_first=True, padding_value=padding)
    indices = torch.tensor([s.index for s in samples])
    batch = Batch(inputs, {"target": target, **(labels or {})}, tuple(s.name for s in samples), indices)
    return batch, [line for s in samples if s.skipped for line in s.skipped.split("\n")]
