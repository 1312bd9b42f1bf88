"""Local and axial attention of positions to part of their map: a window, or a row and column.

Local and axial attention have no matrix over all places. What a recording holds of them is brought into one form, and
rollout and relevance go backward through it, from the output's share in each place to that of every input place, at the
cost of the attention itself.

B images, H heads, N places of a map of h x w, K keys of a place.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.analysis.image_points import patch_at
from saccade.analysis.inputs import Embedder, inner_model
from saccade.errors import RecordingError
from saccade.models.axial_resnet import AxialResNet
from saccade.models.local_resnet import LocalResNet
from saccade.models.model import Model
from saccade.nn.tokens import TokenLayout
from saccade.nn.windows import AxialAttention, LocalAttention

Grid = tuple[int, int]


@dataclass(frozen=True)
class PlacedAttention:
    """One layer's attention from every place of a map to some of its places.

    Attributes:
        path: of the module.
        weights: ``[B, H, N, K]``.
        keys: ``[N, K]``, the number of each key's place; -1 for none.
        layout: how the positions are arranged over the image.
    """

    path: str
    weights: Tensor
    keys: Tensor
    layout: TokenLayout

    def rows(self, query: int | None = None) -> Tensor:
        """What a place attends to, the mean over all by default: ``[B, H, h, w]``."""
        if query is None:
            shares = self.weights.new_full((*self.weights.shape[:2], self.layout.num_patches), 1 / len(self.keys))
            return self.pull(shares, self.weights).unflatten(-1, self.layout.grid)
        spread = self.weights.new_zeros(*self.weights.shape[:2], self.layout.num_patches)
        index = self.keys[query].clamp(min=0).expand_as(self.weights[:, :, query])
        inside = self.weights[:, :, query] * (self.keys[query] >= 0)
        return spread.scatter_add(-1, index, inside).unflatten(-1, self.layout.grid)

    def pull(self, shares: Tensor, weights: Tensor) -> Tensor:
        """Shares ``[..., N]`` of the queries and weights ``[..., N, K]`` -> shares of the keys ``[..., N]``."""
        passed = (shares[..., None] * weights * (self.keys >= 0)).flatten(-2)
        index = self.keys.clamp(min=0).flatten().expand_as(passed)
        return torch.zeros_like(shares).scatter_add(-1, index, passed)

    def distances(self) -> Tensor:
        """The expected distance of each place's query to its keys, ``[B, H, N]`` pixels."""
        centres = self.layout.centres().to(self.weights)
        apart = (centres[:, None] - centres[self.keys.clamp(min=0)]).square().sum(-1).sqrt()  # [N, K]
        return (self.weights * apart * (self.keys >= 0)).sum(-1)


@dataclass(frozen=True)
class PlacedBlock:
    """The attentions of a residual branch, one after the other, and the map (rows, columns) behind the block."""

    attentions: tuple[PlacedAttention, ...]
    output: Grid

    @property
    def grid(self) -> Grid:
        return self.attentions[0].layout.grid


@dataclass
class Grids:
    """The shapes of maps in one pass: of the image, of the input of every attention, of the output of every block."""

    image: Grid
    inputs: dict[str, Grid]
    outputs: dict[str, Grid]


@contextmanager
def map_grids(reader: Model | Embedder, image_size: Grid) -> Iterator[Grids]:
    """Keep the shapes of the maps that local and axial attention run on inside the `with`, for images of (H, W)."""
    grids, handles = Grids(image_size, {}, {}), []
    for path, module in inner_model(reader).named_modules():
        if isinstance(module, LocalAttention | AxialAttention):

            def before(module: nn.Module, args: Any, path: str = path) -> None:
                grids.inputs[path] = tuple(args[0].shape[-2:])

            handles.append(module.register_forward_pre_hook(before))
    for path, block in _blocks(reader):

        def after(module: nn.Module, args: Any, output: Tensor, path: str = path) -> None:
            grids.outputs[path] = (output.shape[-2], output.shape[-1])

        handles.append(block.register_forward_hook(after))
    try:
        yield grids
    finally:
        for handle in handles:
            handle.remove()


def placed_blocks(reader: Model | Embedder, attention: Mapping[str, Tensor], grids: Grids) -> list[PlacedBlock]:
    """The attention of a network of local or axial attention, block by block, from the first to the last.

    Args:
        reader: the network; () of any other.
        attention: path -> weights as a recording has them, or their gradients.
        grids: of the same pass, see :func:`map_grids`.
    """
    modules = dict(inner_model(reader).named_modules())
    blocks, image_size = [], grids.image
    for name, _ in _blocks(reader):
        attentions = []
        for path, weights in attention.items():
            path = path.removeprefix("model.") if isinstance(reader, Embedder) else path
            module = modules[path]
            if path.startswith(f"{name}.") and isinstance(module, LocalAttention | AxialAttention):
                grid = grids.inputs[path]
                layout = TokenLayout(0, grid, (round(image_size[0] / grid[0]), round(image_size[1] / grid[1])))
                attentions.append(PlacedAttention(path, *module.over_places(weights.detach().cpu(), grid), layout))
        if attentions:
            blocks.append(PlacedBlock(tuple(attentions), grids.outputs[name]))
    return blocks


def placed_rollout(
    blocks: Sequence[PlacedBlock], point: tuple[float, float] | None = None, *, residual: float = 0.5
) -> Tensor:
    """Attention rollout (Abnar & Zuidema, arXiv 2005.00928) from the mean over all places behind the last block, or
    from the place at a point (x, y) in [0, 1], to the places before the first: ``[B, h, w]``, shares that sum to 1.

    Each block mixes its branch, in which several attentions multiply, with its shortcut. Where a block halves the map,
    its branch takes the mean of squares of places and its shortcut the upper left of each.
    """
    weights = [[a.weights.mean(dim=1) for a in block.attentions] for block in blocks]
    return _backward(blocks, weights, 1 - residual, residual, point)


def placed_relevance(blocks: Sequence[PlacedBlock], gradients: Sequence[Sequence[Tensor]]) -> Tensor:
    """Relevance of the places for one output (Chefer et al., arXiv 2103.15679), ``[B, h, w]``, without the part that
    reaches the output past all attention.

    Of each attention the mean over heads of max(0, gradient * weight) counts. In a branch of several attentions that of
    the last counts in full, and those before it pass it on in proportion: their rows sum to 1 or are 0.

    Args:
        blocks: from the first to the last.
        gradients: of the output with respect to the weights of each attention of each block, ``[B, H, N, K]``.
    """
    passed = []
    for block, own in zip(blocks, gradients):
        positive = [(a.weights * gradient).clamp(min=0).mean(dim=1) for a, gradient in zip(block.attentions, own)]
        passed.append([*(F.normalize(one, p=1, dim=-1) for one in positive[:-1]), *positive[-1:]])
    nothing = [[torch.zeros_like(one) for one in own] for own in passed]
    return _backward(blocks, passed, 1.0, 1.0) - _backward(blocks, nothing, 1.0, 1.0)


def _backward(
    blocks: Sequence[PlacedBlock], weights: Sequence[Sequence[Tensor]], branch: float, past: float,
    point: tuple[float, float] | None = None,
) -> Tensor:  # fmt: skip
    """An even share of every place behind the last block, or of one, brought back to the places before the first."""
    if not blocks:
        raise RecordingError("a map through all layers needs at least one of them")
    batch, (height, width) = blocks[0].attentions[0].weights.shape[0], blocks[-1].output
    if point is None:
        shares = torch.full((batch, height * width), 1 / (height * width))
    else:
        token, _ = patch_at(TokenLayout(0, (height, width), (1, 1)), point)
        shares = F.one_hot(torch.tensor([token] * batch), height * width).float()
    for block, own in zip(reversed(blocks), reversed(weights)):
        through = _averaged(shares, block.output, block.grid)
        for attention, passed in zip(reversed(block.attentions), reversed(own)):
            through = attention.pull(through, passed)
        shares = branch * through + past * _strided(shares, block.output, block.grid)
    return shares.unflatten(-1, blocks[0].grid)


def _averaged(shares: Tensor, output: Grid, grid: Grid) -> Tensor:
    """Shares of the means of squares of places -> an equal share of each place; ``[B, n]`` -> ``[B, N]``."""
    down, across = grid[0] // output[0], grid[1] // output[1]
    spread = shares.unflatten(-1, output).repeat_interleave(down, -2).repeat_interleave(across, -1)
    return spread.flatten(-2) / (down * across)


def _strided(shares: Tensor, output: Grid, grid: Grid) -> Tensor:
    """Shares of squares of places -> all of it to the upper left place of each; ``[B, n]`` -> ``[B, N]``."""
    whole = shares.new_zeros(len(shares), *grid)
    whole[:, :: grid[0] // output[0], :: grid[1] // output[1]] = shares.unflatten(-1, output)
    return whole.flatten(-2)


def _blocks(reader: Model | Embedder) -> list[tuple[str, nn.Module]]:
    """The residual blocks with their paths, in their order."""
    model = inner_model(reader)
    if not isinstance(model, LocalResNet | AxialResNet):
        return []
    inside = {id(block) for block in model.stages.blocks()}
    return [(path, module) for path, module in model.named_modules() if id(module) in inside]


def on_one_grid(maps: Sequence[Tensor]) -> Tensor:
    """Maps ``[..., h_i, w_i]`` of several sizes on the finest of their grids, ``[L, ..., h, w]``: the share of a place
    is spread evenly over the finer places that it covers, and the sum stays."""
    finest = max(((one.shape[-2], one.shape[-1]) for one in maps), key=lambda grid: grid[0] * grid[1])
    return torch.stack([_on_grid(one, finest) for one in maps])


def _on_grid(values: Tensor, grid: Grid) -> Tensor:
    if tuple(values.shape[-2:]) == grid:
        return values
    spread = F.interpolate(values.reshape(1, -1, *values.shape[-2:]), size=grid, mode="nearest-exact")
    spread = spread.reshape(*values.shape[:-2], *grid)
    total = spread.sum(dim=(-2, -1), keepdim=True)
    return spread * torch.where(total > 0, values.sum(dim=(-2, -1), keepdim=True) / total, 0)
