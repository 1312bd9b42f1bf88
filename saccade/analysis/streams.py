"""Attention streams of a recorded run, and maps through all of its layers: rollout and flow.

The tokens of a model form streams: the patches of an image, the words of a text, latents, object queries. An attention
leads from one stream to another or to itself, with a residual connection around it. Rollout goes backward through these
steps, from output tokens to the inputs, so that no matrix is larger than the steps themselves.

H heads, Q queries, K keys, R output tokens that are of interest.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.analysis.attention_flow import attention_flow
from saccade.analysis.inputs import Embedder, inner_model, instead_of_attention
from saccade.errors import RecordingError
from saccade.models.model import Model
from saccade.nn.tokens import TokenLayout
from saccade.nn.trace import Trace

IMAGE = "image"
LARGEST_FLOW = 4096  # tokens of all streams


@dataclass(frozen=True)
class Step:
    """One attention of one input.

    Attributes:
        path: of the module; with ``:1``, ``:2`` … where it ran several times.
        queries, keys: names of the streams.
        weights: ``[H, Q, K]``, rows that sum to 1.
        gradient: of an output with respect to them, where there is one.
    """

    path: str
    queries: str
    keys: str
    weights: Tensor
    gradient: Tensor | None = None

    def mean(self) -> Tensor:
        """``[Q, K]``, the mean over heads."""
        return self.weights.mean(dim=0)

    def positive(self) -> Tensor:
        """``[Q, K]``, the mean over heads of max(0, gradient * weight); 0 where the output does not depend on it."""
        if self.gradient is None:
            return torch.zeros_like(self.weights[0])
        return (self.gradient * self.weights).clamp(min=0).mean(dim=0)


def recorded_steps(trace: Trace, reader: Model | Embedder, gradients: Mapping[str, Tensor] | None = None) -> list[Step]:
    """The recorded attentions between token streams in the order in which they ran; those of other kinds are left out.

    Args:
        trace: of one input, with all heads and queries.
        reader: what ran.
        gradients: path -> gradient ``[1, H, Q, K]``.

    Raises:
        RecordingError: there are none.
    """
    layout, steps, sizes = trace.layout, [], dict[str, int]()
    for path, (queries, keys) in stream_paths(trace, reader).items():
        if IMAGE in (queries, keys) and layout is None:
            continue
        tensors = [trace.attention[path].detach()[0].cpu()]
        gradient = None if gradients is None else gradients.get(path)
        if gradient is not None:
            tensors.append(gradient[0].cpu())
        if keys == IMAGE and layout is not None and tensors[0].shape[2] == layout.num_patches < layout.num_tokens:
            tensors = [F.pad(x, (layout.num_prefix, 0)) for x in tensors]  # a decoder reads the patches alone
        for name, size in zip((queries, keys), tensors[0].shape[1:]):
            if sizes.setdefault(name, size) != size:
                raise RecordingError(f"{path} has {size} tokens of the {name}, and attentions before it {sizes[name]}")
        steps.append(Step(path, queries, keys, *tensors))
    if not steps:
        name = type(inner_model(reader)).__name__
        raise RecordingError(f"this {name} has no attention between tokens; {instead_of_attention(reader)}")
    return steps


def stream_paths(trace: Trace, reader: Model | Embedder) -> dict[str, tuple[str, str]]:
    """Path of each recorded attention between token streams -> the streams of its queries and of its keys."""
    streams = inner_model(reader).attention_streams()
    paths = {}
    for path in trace.attention:
        module = path.partition(":")[0]
        module = module.removeprefix("model.") if isinstance(reader, Embedder) else module
        row = next(((q, k) for pattern, q, k in streams if fnmatch.fnmatchcase(module, pattern)), None)
        if row is not None:
            paths[path] = row
    return paths


def stream_sizes(steps: Sequence[Step]) -> dict[str, int]:
    """Tokens of each stream."""
    sizes = {}
    for step in steps:
        sizes[step.queries], sizes[step.keys] = step.weights.shape[1:]
    return sizes


def output_stream(steps: Sequence[Step]) -> str:
    """The stream whose tokens the head reads: that of the last queries."""
    return steps[-1].queries


def stream_rollout(
    steps: Sequence[Step], rows: Tensor, stream: str | None = None, *, residual: float = 0.5
) -> dict[str, Tensor]:
    """Attention rollout (Abnar & Zuidema, arXiv 2005.00928) from some output tokens back to the inputs.

    Each attention mixes what its queries hold (`residual` of it) with the mean over heads of what they attend to.

    Args:
        steps: from the first to the last.
        rows: weights of the output tokens, ``[R, N]``: a row of the identity for one token.
        stream: of the output tokens, the last queries' by default.
        residual: in [0, 1).

    Returns:
        for each stream the shares of its tokens before the first step, ``[R, N]``; all streams together sum to the sums
        of `rows`.
    """
    if not 0 <= residual < 1:
        raise ValueError(f"residual must be in [0, 1), not {residual}")
    sizes = stream_sizes(steps)
    shares = {name: rows.new_zeros(len(rows), size) for name, size in sizes.items()}
    shares[output_stream(steps) if stream is None else stream] = rows
    for step in reversed(steps):
        own = shares[step.queries]
        passed = (1 - residual) * own @ step.mean().to(own)
        shares[step.queries] = residual * own
        shares[step.keys] = shares[step.keys] + passed
    return shares


def stream_flow(
    steps: Sequence[Step], query: int, stream: str | None = None, *, residual: float = 0.5
) -> dict[str, Tensor]:
    """Attention flow (Abnar & Zuidema, arXiv 2005.00928): the maximum flow from each input token to one output token,
    for each stream ``[N]``.

    Raises:
        RecordingError: there are too many tokens for the graph.
    """
    sizes = stream_sizes(steps)
    total = sum(sizes.values())
    if total > LARGEST_FLOW:
        raise RecordingError(f"a flow through {total} tokens takes too long: at most {LARGEST_FLOW}; use rollout")
    ends = torch.tensor(list(sizes.values())).cumsum(0).tolist()
    places = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends)}
    layers = []
    for step in steps:
        mixed = torch.eye(total)
        rows = places[step.queries]
        mixed[rows, rows] *= residual
        mixed[rows, places[step.keys]] += (1 - residual) * step.mean()
        layers.append(mixed[None])
    start = places[output_stream(steps) if stream is None else stream].start
    flow = attention_flow(layers, start + query, residual=0.0)
    return {name: flow[place] for name, place in places.items()}


@dataclass(frozen=True)
class Readout:
    """What an output is read from.

    Attributes:
        stream: its tokens.
        token: the one that is read; None for the mean of all, of an image without its prefix tokens.
    """

    stream: str
    token: int | None

    def rows(self, steps: Sequence[Step], layout: TokenLayout | None) -> Tensor:
        """Weights of the stream's tokens ``[1, N]``, for :func:`stream_rollout`."""
        size = stream_sizes(steps)[self.stream]
        weights = torch.zeros(1, size)
        if self.token is None:
            first = layout.num_prefix if self.stream == IMAGE and layout is not None else 0
            weights[:, first:] = 1 / (size - first)
        elif not 0 <= self.token < size:
            raise RecordingError(f"there is no query {self.token}: they are 0 to {size - 1}")
        else:
            weights[:, self.token] = 1
        return weights


def over_patches(values: Tensor, layout: TokenLayout) -> Tensor:
    """Values of the image's tokens ``[..., N]`` -> of its patches, ``[..., h, w]``."""
    return values[..., layout.num_prefix :].unflatten(-1, layout.grid)
