"""Rules shared by the publishers of DPT and Depth Anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from saccade.checkpoints.mapping import Rule
from saccade.checkpoints.metadata import CheckpointMetadata
from saccade.errors import CheckpointError

# depth -> blocks of the published models: DPT, and Depth Anything V2, which is built on DINOv2
TAPS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23)}
DINOV2_TAPS = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23)}


def under(prefix: str, rules: list[Rule], their_prefix: str = "") -> list[Rule]:
    """Rules of a backbone that is a part of both models."""
    return [
        Rule(tuple(their_prefix + name for name in r.theirs), tuple(prefix + name for name in r.ours), r.steps)
        for r in rules
    ]


def taps(
    out_indices: Any,
    depth: int,
    metadata: CheckpointMetadata,
    *,
    count: int = 4,
    published: Mapping[int, tuple[int, ...]] = TAPS,
) -> tuple[int, ...]:
    """Tapped blocks, which tensors do not determine: the caller's, the config's, those of the published depths."""
    blocks: Sequence[int] | None = metadata.options.get("taps") or out_indices
    if blocks is not None:
        return tuple(int(i) for i in blocks)[-count:]
    if depth not in published:
        raise CheckpointError(
            f"which blocks of {depth} are tapped is not visible in the tensors: give it with options={{'taps': (…)}}"
        )
    return published[depth][-count:]
