"""Position embeddings: attention alone is permutation-equivariant, so the position of each token is added.

D width, N tokens, P prefix tokens, h x w grid of patches. Grids are always given as (rows, columns): a table of 196
positions may be 14 x 14, 7 x 28 or 4 x 49, and its length does not determine which.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]
Resampling = Literal[
    "bicubic-antialias",
    "bicubic",
    "bicubic-offset",
    "bicubic-corners",
    "bilinear-antialias",
    "bilinear",
    "bilinear-corners",
]
FixedKind = Literal["sincos_1d", "sincos_2d", "sincos_2d_endpoint"]
RotaryKind = Literal["rotary", "rotary_normalized"]
PositionKind = Literal["none", "learned", FixedKind, "fourier", RotaryKind]


def sinusoidal_1d(length: int, dim: int, temperature: float = 10_000.0) -> Tensor:
    """The sinusoids of "Attention Is All You Need", ``[length, dim]``: sine at even, cosine at odd features.

    ``PE(p, 2i) = sin(p / temperature^(2i / dim))``, ``PE(p, 2i + 1) = cos(p / temperature^(2i / dim))``.
    """
    _require_divisible("sinusoidal_1d", dim, 2)
    frequencies = temperature ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)  # [D/2]
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


def sinusoidal_2d(grid: Grid, dim: int, temperature: float = 10_000.0, endpoint: bool = False) -> Tensor:
    """Fixed positions on a grid, ``[h * w, dim]`` = ``[sin x, cos x, sin y, cos y]``, a quarter of the width each.

    Args:
        grid: (rows, columns).
        dim: width, a multiple of 4.
        temperature: the longest wavelength is 2π times this.
        endpoint: whether the last frequency reaches exactly ``1 / temperature``, as in big_vision; MAE stops one short.
    """
    _require_divisible("sinusoidal_2d", dim, 4)
    steps = dim // 4
    exponents = torch.arange(steps, dtype=torch.float64) / max(steps - endpoint, 1)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = torch.stack((x, y)).flatten(1)[..., None] * temperature**-exponents  # [2, h*w, D/4]
    return torch.cat((angles.sin(), angles.cos()), dim=-1).transpose(0, 1).flatten(1).float()


def sine_positions_masked(
    valid: Tensor, dim: int, temperature: float = 10_000.0, normalize: bool = True, scale: float = 2 * math.pi
) -> Tensor:
    """DETR's positions over the valid part of padded images (arXiv 2005.12872): ``[B, h, w]`` -> ``[B, dim, h, w]``.

    Args:
        valid: boolean, True inside the image; counting starts again in every image, so padding does not shift
            positions.
        dim: width, a multiple of 4; the first half encodes y, the second x, sine and cosine interleaved.
        temperature: the longest wavelength is 2π times this.
        normalize: whether each image's extent is mapped to ``0 ... scale``.
        scale: upper end of that range.
    """
    _require_divisible("sine_positions_masked", dim, 4)
    y, x = valid.cumsum(1, dtype=torch.float32), valid.cumsum(2, dtype=torch.float32)  # [B, h, w], counted from 1
    if normalize:
        y = y / (y[:, -1:, :] + 1e-6) * scale
        x = x / (x[:, :, -1:] + 1e-6) * scale
    exponents = torch.arange(0, dim // 2, 2, dtype=torch.float32, device=valid.device) / (dim // 2)
    angles = torch.stack((y, x), dim=-1)[..., None] / temperature**exponents  # [B, h, w, 2, D/4]
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(3).permute(0, 3, 1, 2)


def fourier_features(positions: Tensor, num_bands: int, max_resolution: tuple[int, ...]) -> Tensor:
    """Perceiver's features (arXiv 2103.03206) of positions in ``[-1, 1]``: ``[N, n]`` -> ``[N, n + 2n * num_bands]``.

    Each coordinate contributes its value, then ``sin(π f p)`` and ``cos(π f p)`` for ``num_bands`` frequencies f from 1
    to half of that coordinate's resolution (Nyquist).
    """
    bands = torch.stack([torch.linspace(1.0, size / 2, num_bands) for size in max_resolution]).to(positions)
    angles = (math.pi * positions[..., None] * bands).flatten(-2)  # [N, n * num_bands]
    return torch.cat((positions, angles.sin(), angles.cos()), dim=-1)


@dataclass(frozen=True)
class CoordinateAugmentation:
    """Random changes of the coordinates of `rotary_normalized` positions in training (DINOv3, arXiv 2508.10104), drawn
    for each batch: ``(coordinate + shift) * jitter * rescale``, with coordinates in -1 … 1 over the image.

    Attributes:
        shift: of each axis, uniform in ``[-shift, shift]``; 0 for none.
        jitter: factor of each axis, log-uniform in ``[1 / jitter, jitter]``; 1 for none.
        rescale: factor of both axes, log-uniform in ``[1 / rescale, rescale]``; 1 for none.
    """

    shift: float = 0.0
    jitter: float = 1.0
    rescale: float = 1.0

    def __post_init__(self) -> None:
        if self.shift < 0 or self.jitter < 1 or self.rescale < 1:
            raise ValueError(f"shift must be 0 or more, jitter and rescale 1 or more, not {self}")

    @property
    def active(self) -> bool:
        return self != CoordinateAugmentation()

    def draw(self, device: torch.device) -> Tensor:
        """``[2, 2]``: what is added to rows and columns, then what multiplies them; from PyTorch's generator."""
        change = torch.stack((torch.zeros(2, device=device), torch.ones(2, device=device)))
        if self.shift:
            change[0] = torch.empty(2, device=device).uniform_(-self.shift, self.shift)
        for limit, count in ((self.jitter, 2), (self.rescale, 1)):
            if limit > 1:
                change[1] *= torch.empty(count, device=device).uniform_(-math.log(limit), math.log(limit)).exp()
        return change


def rotary_positions(
    grid: Grid,
    head_dim: int,
    num_prefix: int = 0,
    kind: RotaryKind = "rotary",
    temperature: float = 100.0,
    change: Tensor | None = None,
) -> Tensor:
    """Axial rotary positions (RoFormer, arXiv 2104.09864; on a grid: Heo et al., arXiv 2403.13298), for :func:`rotate`.

    Half of the feature pairs of a head are rotated by the token's column, half by its row: pair i of each half by
    ``position / temperature^(2i / (head_dim / 2))``. The product of a query and a key then depends on the distance in
    columns and rows between them, not on their absolute positions.

    Args:
        grid: (rows, columns).
        head_dim: width d of a head, a multiple of 4.
        num_prefix: P, number of tokens in front that have no position and are not rotated.
        kind: ``rotary`` measures positions in cells, and columns come first. ``rotary_normalized`` is that of DINOv3
            (arXiv 2508.10104): positions are the centres of cells in -2π … 2π over the image, whatever its size, and
            rows come first.
        temperature: the longest wavelength is slightly less than 2π times this.
        change: of `rotary_normalized` coordinates, from :meth:`CoordinateAugmentation.draw`; the angles are computed in
            its dtype and on its device.

    Returns:
        ``[2, P + h*w, d / 2]``: cosines and sines of the angles.
    """
    _require_divisible("rotary_positions", head_dim, 4)
    dtype, device = (torch.float64, None) if change is None else (change.dtype, change.device)
    frequencies = temperature ** (-torch.arange(0, head_dim, 4, dtype=dtype, device=device) / head_dim)  # [d/4]
    axes = [torch.arange(n, dtype=dtype, device=device) for n in grid]
    if kind == "rotary_normalized":
        axes = [2 * (axis + 0.5) / n - 1 for axis, n in zip(axes, grid)]
        if change is not None:
            axes = [(axis + shift) * factor for axis, shift, factor in zip(axes, *change)]
        axes = [2 * math.pi * axis for axis in axes]
    y, x = torch.meshgrid(*axes, indexing="ij")
    places = (x, y) if kind == "rotary" else (y, x)
    angles = torch.cat([place.flatten()[:, None] * frequencies for place in places], dim=1)  # [h*w, d/2]
    angles = F.pad(angles, (0, 0, num_prefix, 0))
    return torch.stack((angles.cos(), angles.sin())).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate each pair of features (2i, 2i + 1) of ``[..., N, d]`` by the angles of ``rotation [2, N, d / 2]``."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation.to(x.dtype)
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)


def fixed_positions(kind: FixedKind, grid: Grid, dim: int) -> Tensor:
    """Sinusoids along the sequence or over the grid, ``[1, h * w, dim]``."""
    if kind == "sincos_1d":
        return sinusoidal_1d(grid[0] * grid[1], dim)[None]
    return sinusoidal_2d(grid, dim, endpoint=kind == "sincos_2d_endpoint")[None]


def fixed_positions_for(table: Tensor, table_grid: Grid, grid: Grid, kind: FixedKind) -> Tensor:
    """The table if it is for this grid, else a new one on its device and with its dtype."""
    return table if grid == table_grid else fixed_positions(kind, grid, table.shape[2]).to(table)


def grid_coordinates(grid: Grid) -> Tensor:
    """(y, x) of every cell, corner cells at -1 and 1, ``[h * w, 2]``: what :func:`fourier_features` takes."""
    axes = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in grid)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


def resample_positions(
    table: Tensor, old_grid: Grid, new_grid: Grid, num_prefix: int = 0, method: Resampling = "bicubic-antialias"
) -> Tensor:
    """Resample a table of positions to another grid; prefix positions stay unchanged.

    Args:
        table: ``[1, P + h*w, D]``.
        old_grid: (rows, columns) of the table.
        new_grid: (rows, columns) of the result.
        num_prefix: P, number of positions in front that belong to prefix tokens.
        method: ``bicubic-antialias`` is timm's, ``bicubic`` DeiT's and Hugging Face's, ``bicubic-offset`` (0.1 is added
            to the new grid where the scale is computed) that of Meta's DINO and DINOv2 without registers,
            ``bicubic-corners`` (corner cells stay at the corners) torchvision's, ``bilinear`` DPT's,
            ``bilinear-antialias`` that of NaFlex, ``bilinear-corners`` that of the Google code.

    Returns:
        ``[1, P + new_h*new_w, D]`` in the table's dtype; computed in float32.
    """
    if table.shape[1] != num_prefix + old_grid[0] * old_grid[1]:
        raise ValueError(
            f"a table of {table.shape[1]} positions is not {num_prefix} prefix positions and a grid of "
            f"{old_grid[0]} x {old_grid[1]}"
        )
    if tuple(old_grid) == tuple(new_grid):
        return table
    prefix, places = table[:, :num_prefix], table[:, num_prefix:]
    image = places.float().unflatten(1, tuple(old_grid)).permute(0, 3, 1, 2)  # [1, D, h, w]
    if method in ("bilinear-corners", "bicubic-corners"):
        mode = method.removesuffix("-corners")
        image = F.interpolate(image, size=tuple(new_grid), mode=mode, align_corners=True)
    elif method == "bicubic-offset":
        scale = tuple((new + 0.1) / old for old, new in zip(old_grid, new_grid))
        image = F.interpolate(image, scale_factor=scale, mode="bicubic", align_corners=False)
    else:
        mode, _, antialias = method.partition("-")
        image = F.interpolate(
            image, size=tuple(new_grid), mode=mode, align_corners=False, antialias=antialias == "antialias"
        )
    return torch.cat((prefix, image.flatten(2).transpose(1, 2).to(table.dtype)), dim=1)


def rotary_positions_for(table: Tensor, table_grid: Grid, grid: Grid, num_prefix: int, kind: RotaryKind) -> Tensor:
    """The table if it is for this grid, else a new one on its device and with its dtype."""
    return table if grid == table_grid else rotary_positions(grid, 2 * table.shape[2], num_prefix, kind).to(table)


def augmented_rotary_positions(
    table: Tensor, grid: Grid, num_prefix: int, augmentation: CoordinateAugmentation
) -> Tensor:
    """`rotary_normalized` positions of a grid with coordinates changed by one draw, on the table's device and in its
    dtype."""
    change = augmentation.draw(table.device)
    return rotary_positions(grid, 2 * table.shape[2], num_prefix, "rotary_normalized", change=change).to(table.dtype)


# These depend on the grid, which torch.fx does not follow: each is one node of a traced graph.
torch.fx.wrap("augmented_rotary_positions")
torch.fx.wrap("rotary_positions_for")
torch.fx.wrap("resample_positions")
torch.fx.wrap("fixed_positions_for")
torch.fx.wrap("grid_coordinates")


class LearnedPositions(nn.Module):
    """A learned vector for every position: ``forward(grid)`` -> ``[1, P + h*w, D]``, resampled for other grids."""

    def __init__(self, grid: Grid, dim: int, num_prefix: int = 0, method: Resampling = "bicubic-antialias"):
        super().__init__()
        self.grid = grid
        self.num_prefix = num_prefix
        self.method: Resampling = method
        self.table = nn.Parameter(torch.empty(1, num_prefix + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, grid: Grid) -> Tensor:
        return resample_positions(self.table, self.grid, grid, self.num_prefix, self.method)


class GridPositions(nn.Module):
    """A learned vector for every row and for every column, concatenated: ``forward(grid)`` -> ``[1, D, h, w]``.

    Grids of up to ``size`` rows and columns; DETR's alternative to sinusoids.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        _require_divisible("GridPositions", dim, 2)
        self.rows = nn.Parameter(torch.rand(size, dim // 2))
        self.columns = nn.Parameter(torch.rand(size, dim // 2))

    def forward(self, grid: Grid) -> Tensor:
        height, width = grid
        if max(grid) > len(self.rows):
            raise ValueError(f"a map of {height} x {width} places, but positions for {len(self.rows)} rows and columns")
        columns = self.columns[:width].expand(height, -1, -1)
        rows = self.rows[:height, None].expand(-1, width, -1)
        return torch.cat((columns, rows), dim=-1).permute(2, 0, 1)[None]


class FixedPositions(nn.Module):
    """Sinusoids, counted along the sequence or over the grid: ``forward(grid)`` -> ``[1, h*w, D]``. No parameters."""

    def __init__(self, grid: Grid, dim: int, kind: FixedKind):
        super().__init__()
        self.grid = grid
        self.kind: FixedKind = kind
        self.num_prefix = 0
        self.table: Tensor
        self.register_buffer("table", fixed_positions(kind, grid, dim), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        return fixed_positions_for(self.table, self.grid, grid, self.kind)


class FourierPositions(nn.Module):
    """Fourier features of the positions, projected to the tokens' width: -> ``[1, h*w, D]``."""

    def __init__(self, grid: Grid, dim: int, num_bands: int = 16):
        super().__init__()
        self.grid = grid
        self.num_bands = num_bands
        self.num_prefix = 0
        self.proj = nn.Linear(2 + 4 * num_bands, dim)

    def forward(self, grid: Grid) -> Tensor:
        coordinates = grid_coordinates(grid).to(self.proj.weight)
        return self.proj(fourier_features(coordinates, self.num_bands, self.grid))[None]


class RotaryPositions(nn.Module):
    """Rotary angles of queries and keys: ``forward(grid)`` -> ``[2, P + h*w, d / 2]``. No parameters.

    In training the coordinates are changed at random if `augmentation` is active."""

    def __init__(
        self,
        grid: Grid,
        head_dim: int,
        num_prefix: int = 0,
        kind: RotaryKind = "rotary",
        augmentation: CoordinateAugmentation = CoordinateAugmentation(),
    ):
        super().__init__()
        self.grid = grid
        self.num_prefix = num_prefix
        self.kind: RotaryKind = kind
        self.augmentation = augmentation
        self.table: Tensor
        self.register_buffer("table", rotary_positions(grid, head_dim, num_prefix, kind), persistent=False)

    def forward(self, grid: Grid) -> Tensor:
        if self.training and self.augmentation.active:
            return augmented_rotary_positions(self.table, grid, self.num_prefix, self.augmentation)
        return rotary_positions_for(self.table, self.grid, grid, self.num_prefix, self.kind)


Positions = LearnedPositions | FixedPositions | FourierPositions


def make_positions(
    kind: PositionKind, grid: Grid, dim: int, num_prefix: int = 0, method: Resampling = "bicubic-antialias"
) -> Positions | None:
    """The module for a kind of position that is added to tokens; None for "none" and for rotary positions, which rotate
    queries and keys instead (:class:`RotaryPositions`).

    Learned positions include ``num_prefix`` prefix tokens and are resampled for other grids by ``method``."""
    if kind in ("none", "rotary", "rotary_normalized"):
        return None
    if kind == "learned":
        return LearnedPositions(grid, dim, num_prefix, method)
    if kind == "fourier":
        return FourierPositions(grid, dim)
    if kind in get_args(FixedKind):
        return FixedPositions(grid, dim, kind)
    raise ValueError(f"unknown positions {kind!r}; choose {', '.join(get_args(PositionKind))}")


def _require_divisible(name: str, dim: int, divisor: int) -> None:
    if dim % divisor:
        raise ValueError(f"{name} needs a width that is a multiple of {divisor}, not {dim}")
