"""Token layout: which tokens are patches of the image, and where each patch is.

B batch, N tokens, P prefix tokens (class token, registers), D width, h x w grid of patches.
"""

from dataclasses import dataclass

import torch
import torch.fx
from torch import Tensor


def require_tokens(tokens: Tensor, count: int) -> None:
    """Raise an error for a sequence ``[B, N, D]`` whose length N is not the layout's."""
    if tokens.shape[1] != count:
        raise ValueError(f"{tokens.shape[1]} tokens do not fit this layout, which has {count}")


torch.fx.wrap("require_tokens")  # depends on sizes, which torch.fx does not follow: one node of a traced graph


@dataclass(frozen=True)
class TokenLayout:
    """How a sequence of ``num_prefix + rows * columns`` tokens is arranged over an image.

    Attributes:
        num_prefix: number of tokens in front that belong to no position in the image.
        grid: (rows, columns) of patches; patches follow the prefix row by row.
        stride: (vertical, horizontal) distance between neighbouring patches, in pixels of the network's input.
    """

    num_prefix: int
    grid: tuple[int, int]
    stride: tuple[int, int]

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        return self.num_prefix + self.num_patches

    def index(self, row: int, column: int) -> int:
        """Index of the token of the patch at ``row``, ``column``."""
        rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise IndexError(f"patch ({row}, {column}) is outside the grid of {rows} x {columns} patches")
        return self.num_prefix + row * columns + column

    def position(self, index: int) -> tuple[int, int] | None:
        """(row, column) of a token, or None for a prefix token."""
        if not 0 <= index < self.num_tokens:
            raise IndexError(f"token {index} does not exist: the layout has {self.num_tokens} tokens")
        if index < self.num_prefix:
            return None
        return divmod(index - self.num_prefix, self.grid[1])

    def box(self, index: int) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of a token in pixels, right and bottom exclusive; None for a prefix token."""
        position = self.position(index)
        if position is None:
            return None
        (row, column), (height, width) = position, self.stride
        return column * width, row * height, (column + 1) * width, (row + 1) * height

    def centres(self) -> Tensor:
        """Centre (y, x) of every patch in input pixels, ``[h * w, 2]`` float32."""
        y, x = ((torch.arange(n) + 0.5) * s for n, s in zip(self.grid, self.stride))
        return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, P + h*w, D]`` -> prefix tokens ``[B, P, D]`` and patch tokens ``[B, h*w, D]``."""
        require_tokens(tokens, self.num_tokens)
        return tokens[:, : self.num_prefix], tokens[:, self.num_prefix :]

    def to_map(self, tokens: Tensor) -> Tensor:
        """``[B, P + h*w, D]`` or ``[B, h*w, D]`` -> feature map ``[B, D, h, w]``; prefix tokens are left out."""
        patches = tokens if tokens.shape[1] == self.num_patches else self.split(tokens)[1]
        return patches.transpose(1, 2).unflatten(2, self.grid)

    def from_map(self, features: Tensor) -> Tensor:
        """Feature map ``[B, D, h, w]`` -> patch tokens ``[B, h*w, D]``."""
        if tuple(features.shape[-2:]) != self.grid:
            raise ValueError(f"a {tuple(features.shape[-2:])} map does not fit the grid {self.grid}")
        return features.flatten(2).transpose(1, 2)
