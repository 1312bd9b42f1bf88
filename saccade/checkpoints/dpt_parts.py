"""What the two publishers of DPT share."""

from collections.abc import Sequence
from typing import Any

from saccade.checkpoints.mapping import Rule
from saccade.checkpoints.metadata import CheckpointMetadata
from saccade.errors import CheckpointError

TAPS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23)}  # depth -> blocks of the published models


def under(prefix: str, rules: list[Rule], their_prefix: str = "") -> list[Rule]:
    """Rules of a backbone that is a part of both models."""
    return [
        Rule(tuple(their_prefix + name for name in r.theirs), tuple(prefix + name for name in r.ours), r.steps)
        for r in rules
    ]


def taps(out_indices: Any, depth: int, hybrid: bool, metadata: CheckpointMetadata) -> tuple[int, ...]:
    """Blocks that are tapped, which no tensor shows: the caller's, the config's, those of the published depths."""
    blocks: Sequence[int] | None = metadata.options.get("taps") or out_indices
    count = 2 if hybrid else 4
    if blocks is not None:
        return tuple(int(i) for i in blocks)[-count:]
    if depth not in TAPS:
        raise CheckpointError(
            f"which blocks of {depth} are tapped is not visible in the tensors: give it with options={{'taps': (…)}}"
        )
    return TAPS[depth][-count:]
