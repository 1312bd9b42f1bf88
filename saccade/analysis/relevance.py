"""Relevance of tokens for one output: attention weighted by its gradient, through all layers.

Chefer et al., arXiv 2103.15679. Only weights whose increase would raise the output count: Ā = mean over
heads of max(0, ∂output/∂A * A).

Q queries, K keys, N tokens of a stream.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saccade.analysis.streams import Step, output_stream, stream_sizes


def stream_relevance(steps: Sequence[Step], stream: str | None = None) -> dict[str, Tensor]:
    """Of each output token (row) the relevance of the tokens of each stream that it depends on, ``[Q, N]``.

    Self-attention passes on what its tokens have gathered: R_si ← R_si + Ā R_si for every stream i, from the identity.
    Attention from s to k adds what is taken from k, seen through the relevance on both sides, R_sk ← R_sk + R̄_ssᵀ Ā
    R̄_kk, and what k has gathered from others, R_si ← R_si + Ā R_ki. In R̄ the rows without the identity sum to 1.

    Args:
        steps: from the first to the last, with the gradients of one output.
        stream: of the output tokens, that of the last queries by default.
    """
    relevance: dict[str, dict[str, Tensor]] = {
        name: {name: torch.eye(size)} for name, size in stream_sizes(steps).items() if _mixes(steps, name)
    }
    for step in steps:
        passed = step.positive()
        own = relevance.setdefault(step.queries, {})
        if step.queries == step.keys:
            for name, gathered in own.items():
                own[name] = gathered + passed @ gathered
            continue
        for name, addition in _taken(passed, step, own, relevance.get(step.keys, {})).items():
            own[name] = own[name] + addition if name in own else addition
    return relevance[output_stream(steps) if stream is None else stream]


def _taken(passed: Tensor, step: Step, own: Mapping[str, Tensor], read: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the queries of a step take of every stream through its keys."""
    mixed = normalized(own[step.queries]).T @ passed if step.queries in own else passed
    taken = {name: passed @ gathered for name, gathered in read.items() if name not in (step.keys, step.queries)}
    taken[step.keys] = mixed @ normalized(read[step.keys]) if step.keys in read else mixed
    return taken


def read_relevance(steps: Sequence[Step], reads: Mapping[str, Tensor]) -> Tensor:
    """Relevance of each input token for an output that reads tokens behind several layers, ``[N]``: a dense output, or
    a class that is read from one token. What reaches the output past all attention is left out.

    Args:
        steps: self-attention of one stream, from the first to the last.
        reads: path of an attention -> the share of each token behind its layer in what the output reads, ``[N]``.
    """
    size = steps[-1].weights.shape[-1]
    shares, past = torch.zeros(size), torch.zeros(size)
    for step in reversed(steps):
        if step.path in reads:
            shares, past = shares + reads[step.path], past + reads[step.path]
        shares = shares + shares @ step.positive()
    return shares - past


def normalized(relevance: Tensor) -> Tensor:
    """The rows without the identity, which sum to 1 each then, and the identity again."""
    identity = torch.eye(len(relevance)).to(relevance)
    gathered = relevance - identity
    total = gathered.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, gathered / total, torch.zeros_like(gathered)) + identity


def _mixes(steps: Sequence[Step], stream: str) -> bool:
    """Whether a stream has self-attention. The tokens of others stay what they are, and their identity is not stored: a
    Perceiver reads 50,000 pixels."""
    return any(step.queries == step.keys == stream for step in steps)
