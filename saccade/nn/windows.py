"""Attention over part of the image: a window around each position, or its row and column.

    global   N positions attend to N positions                  N² products
    local    each position attends to the k x k around it       N k²         Ramachandran et al., arXiv 1906.05909
    axial    each position attends to its column, then its row  N (h + w)    Wang et al., arXiv 2003.07853

Local and axial attention replace the 3 x 3 convolutions of a ResNet and map ``[B, C, h, w]`` to ``[B, C, h, w]``.

B batch, C channels, h x w positions (N of them), H heads, d width of a head's queries and keys, e of its values.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.nn.attention import Attention
from saccade.nn.convolution import conv2d


class LocalAttention(Attention):
    """Each position attends to the window around it, with a learned vector for each offset added to the keys.

        weight(i, j) = softmax over the window of  q_i · (k_j + r_{j - i}) / √d

    In each head half of r encodes the row offset, the other half the column offset. Positions outside are hidden.

    Args:
        in_channels: C of the input.
        out_channels: channels of the output; divisible by twice the number of heads.
        stride: the result is averaged over squares of this side.
        num_heads: H.
        window: side k of the window, odd.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, num_heads: int = 8, window: int = 7):
        super().__init__()
        if window % 2 == 0 or out_channels % (2 * num_heads):
            raise ValueError(
                f"needs an odd window and a multiple of {2 * num_heads} channels, not {window} and {out_channels}"
            )
        self.num_heads, self.window, self.stride = num_heads, window, stride
        self.q = conv2d(in_channels, out_channels, 1)
        self.k = conv2d(in_channels, out_channels, 1)
        self.v = conv2d(in_channels, out_channels, 1)
        half = out_channels // num_heads // 2
        self.rows = nn.Parameter(torch.randn(num_heads, half, window, 1) / math.sqrt(out_channels))
        self.columns = nn.Parameter(torch.randn(num_heads, half, 1, window) / math.sqrt(out_channels))

    def forward(self, x: Tensor, gather: bool = False) -> Tensor:
        """``[B, C, h, w]`` -> ``[B, out_channels, h / stride, w / stride]``.

        Args:
            x: the map.
            gather: whether to gather the window of every position and multiply matrices, as under an intervention and
                for counters of multiply-adds. The results agree up to rounding; it takes several times as long.
        """
        edit = self.edit
        changed = edit is not None and edit.active()
        out = self.gathered(x) if gather or changed else self.shifted(x)
        return F.avg_pool2d(out, self.stride) if self.stride > 1 else out

    def shifted(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` -> ``[B, out_channels, h, w]``: for each of the k² offsets of a window one product of the
        queries with the keys at that offset, and one of the weights with the values. No window is copied."""
        q, k, v = (part(x).unflatten(1, (self.num_heads, -1)) for part in (self.q, self.k, self.v))  # [B, H, d, h, w]
        q = q / math.sqrt(q.shape[2])
        scores = torch.stack([(q * key).sum(dim=2) for key in self.steps(k)], dim=2)  # [B, H, k², h, w]
        towards_rows, towards_columns = q.chunk(2, dim=2)
        rows = torch.einsum("bhdyx,hdk->bhkyx", towards_rows, self.rows[..., 0])
        columns = torch.einsum("bhdyx,hdk->bhkyx", towards_columns, self.columns[:, :, 0])
        scores = scores + (rows[:, :, :, None] + columns[:, :, None]).flatten(2, 3)
        inside = torch.stack(list(self.steps(x.new_ones(1, 1, 1, *x.shape[-2:]))), dim=2)[:, :, :, 0] > 0
        weights = self.recorded(scores.masked_fill(~inside, -math.inf).softmax(dim=2))
        out = torch.zeros_like(v)
        for weight, value in zip(weights.unbind(dim=2), self.steps(v)):
            out = torch.addcmul(out, weight[:, :, None], value)
        return out.flatten(1, 2)

    def steps(self, x: Tensor) -> Iterator[Tensor]:
        """``[B, H, d, h, w]``, shifted by every offset of a window, row by row; zeros outside."""
        height, width = x.shape[-2:]
        around = F.pad(x, (self.window // 2,) * 4)
        for row in range(self.window):
            for column in range(self.window):
                yield around[..., row : row + height, column : column + width]

    def recorded(self, weights: Tensor) -> Tensor:
        """Weights ``[B, H, k², h, w]``, which are recorded if there is a recording."""
        tap = self.tap
        if tap is None:
            return weights
        batch, heads, _, height, width = weights.shape
        rows = weights.permute(0, 3, 4, 1, 2).reshape(batch * height * width, heads, 1, -1)
        tapped = tap.explicit(rows)
        if tapped is rows:
            return weights
        return tapped.view(batch, height, width, heads, -1).permute(0, 3, 4, 1, 2).contiguous()

    def gathered(self, x: Tensor) -> Tensor:
        """The same by the formula: each position has the keys and values of its window, ``[B, out_channels, h, w]``."""
        batch, _, height, width = x.shape
        k = self.windows(self.k(x)) + self.distances()  # [B h w, H, k², d]
        v = self.windows(self.v(x))
        q = self.q(x).permute(0, 2, 3, 1).reshape(-1, self.num_heads, 1, k.shape[-1])
        inside = self.windows(x.new_ones(1, self.num_heads, height, width))[:, :1, :, 0].bool()  # [h w, 1, k²]
        mask = inside.repeat(batch, 1, 1)[:, :, None]
        out = self.fused(q, k, v, mask)  # [B h w, H, 1, d]
        return out.reshape(batch, height, width, -1).permute(0, 3, 1, 2)

    def windows(self, x: Tensor) -> Tensor:
        """The window around every position, split by head: ``[B, H d, h, w]`` -> ``[B h w, H, k², d]``."""
        reach, side = self.window // 2, self.window
        around = F.pad(x, (reach,) * 4).unfold(2, side, 1).unfold(3, side, 1)  # [B, H d, h, w, k, k]
        parts = around.unflatten(1, (self.num_heads, -1)).permute(0, 3, 4, 1, 5, 6, 2)  # [B, h, w, H, k, k, d]
        return parts.reshape(-1, self.num_heads, side * side, parts.shape[-1])

    def distances(self) -> Tensor:
        """The vector of each offset of a window: ``[H, k², d]``."""
        rows = self.rows.expand(-1, -1, -1, self.window)  # [H, d / 2, k, k]
        columns = self.columns.expand(-1, -1, self.window, -1)
        return torch.cat((rows, columns), dim=1).flatten(2).transpose(1, 2)

    def over_places(self, weights: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Recorded weights ``[B h w, H, 1, k²]`` of a map of (h, w) positions -> ``[B, H, h w, k²]``; and the index of
        the position of each key, ``[h w, k²]``, -1 outside the map."""
        height, width = grid
        steps = torch.arange(self.window, device=weights.device) - self.window // 2
        rows = (torch.arange(height, device=weights.device)[:, None] + steps)[:, None, :, None]  # [h, 1, k, 1]
        columns = (torch.arange(width, device=weights.device)[:, None] + steps)[None, :, None]  # [1, w, 1, k]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        keys = torch.where(inside, rows * width + columns, -1).reshape(height * width, -1)
        return weights[:, :, 0].unflatten(0, (-1, height * width)).transpose(1, 2), keys


class AxialAttention(Attention):
    """Each position attends along one axis, with learned vectors of relative position for queries, keys and values.

        weight(i, j) = softmax over j of  q_i · k_j + q_i · r^q_{j-i} + k_j · r^k_{j-i}
        out_i = Σ_j weight(i, j) (v_j + r^v_{j-i})

    ("position-sensitive"). Each of the three scores and of the two sums has its own batch norm. Positions further away
    than the span are hidden; an axis longer than the span is split into blocks that attend to themselves and their two
    neighbours, so that the cost grows with the length of the axis and not with its square.

    Args:
        channels: C of input and output; divisible by twice the number of heads.
        axis: 2 for columns (positions above and below), 3 for rows.
        num_heads: H.
        span: distances from -(span - 1) to span - 1 have a vector.
    """

    def __init__(self, channels: int, axis: int, num_heads: int = 8, span: int = 56):
        super().__init__()
        if channels % (2 * num_heads):
            raise ValueError(f"channels must be divisible by {2 * num_heads}, not {channels}")
        self.axis, self.num_heads, self.span = axis, num_heads, span
        self.value_dim = channels // num_heads  # e; queries and keys have half of it
        self.qkv = nn.Conv1d(channels, 2 * channels, 1, bias=False)
        self.norm_qkv = nn.BatchNorm1d(2 * channels)
        self.norm_scores = nn.BatchNorm2d(3 * num_heads)
        self.norm_out = nn.BatchNorm1d(2 * channels)
        self.relative = nn.Parameter(torch.randn(2 * self.value_dim, 2 * span - 1) / math.sqrt(self.value_dim))
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` -> ``[B, C, h, w]``."""
        lines = x.permute(0, 3, 1, 2) if self.axis == 2 else x.permute(0, 2, 1, 3)  # [B, other axis, C, L]
        out = self.along(lines.flatten(0, 1)).unflatten(0, lines.shape[:2])
        return out.permute(0, 2, 3, 1) if self.axis == 2 else out.permute(0, 2, 1, 3)

    def along(self, lines: Tensor) -> Tensor:
        """Rows or columns of positions ``[M, C, L]`` -> ``[M, C, L]``."""
        length, width = lines.shape[-1], self.value_dim
        q, k, v = (
            self.norm_qkv(self.qkv(lines))
            .unflatten(1, (self.num_heads, -1))
            .split([width // 2, width // 2, width], dim=2)
        )  # [M, H, d or e, L]
        if length <= self.span:
            out = self.norm_out(self.attend(q, k, v, self.offsets(length, length, 0), None))
        else:
            out = self.norm_out(self.in_blocks(q, k, v)[..., :length])
        return out.unflatten(1, (-1, 2)).sum(dim=2)

    def in_blocks(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Blocks of `span` queries, each with its own keys and those of both neighbours: ``[M, 2 C, L']``."""
        length, span = q.shape[-1], self.span
        count = -(-length // span)
        margin = count * span - length
        q = F.pad(q, (0, margin)).unflatten(3, (count, span)).movedim(3, 1).flatten(0, 1)  # [M n, H, d, span]
        k, v = (
            F.pad(x, (span, span + margin)).unfold(3, 3 * span, span).movedim(3, 1).flatten(0, 1) for x in (k, v)
        )  # [M n, H, d, 3 span]
        offsets = self.offsets(span, 3 * span, -span)
        place = torch.arange(-span, 2 * span, device=q.device) + span * torch.arange(count, device=q.device)[:, None]
        inside = ((place >= 0) & (place < length))[:, None]  # [n, 1, 3 span]
        # A padded query is thrown away, but must see something.
        mask = (inside & (offsets.abs() < span)) | (offsets == 0)
        out = self.attend(q, k, v, offsets, mask.repeat(q.shape[0] // count, 1, 1)[:, None])
        return out.unflatten(0, (-1, count)).movedim(1, 2).flatten(2)

    def offsets(self, queries: int, keys: int, first: int) -> Tensor:
        """Offset of key j from query i, ``[Q, K]``; the first key is at `first`."""
        device = self.relative.device
        return torch.arange(keys, device=device) + first - torch.arange(queries, device=device)[:, None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, mask: Tensor | None) -> Tensor:
        """``[M, H, d, Q]`` and ``[M, H, d or e, K]`` -> both sums of every channel side by side, ``[M, 2 C, Q]``."""
        width = self.value_dim
        index = offsets.clamp(1 - self.span, self.span - 1) + self.span - 1
        r_q, r_k, r_v = self.relative[:, index].split([width // 2, width // 2, width])  # [d or e, Q, K]
        scores = torch.cat(
            (
                q.transpose(2, 3) @ k,
                torch.einsum("mhdi,dij->mhij", q, r_q),
                torch.einsum("mhdj,dij->mhij", k, r_k),
            ),
            dim=1,
        )  # [M, 3 H, Q, K]
        scores = self.norm_scores(scores).unflatten(1, (3, -1)).sum(dim=1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = self.explicit(scores)  # [M, H, Q, K]
        content = v @ weights.transpose(2, 3)  # [M, H, e, Q]
        distance = torch.einsum("mhij,eij->mhei", weights, r_v)
        return torch.stack((content, distance), dim=3).flatten(1, 3)

    def over_places(self, weights: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Recorded weights of a map of (h, w) positions -> ``[B, H, h w, K]``, a row for each position; and the index
        of the position of each key, ``[h w, K]``, -1 outside the map."""
        height, width = grid
        length, lines = (height, width) if self.axis == 2 else (width, height)
        device = weights.device
        if length <= self.span:
            along = torch.arange(length, device=device).expand(length, length)  # where each query's keys are
            rows = weights.unflatten(0, (-1, lines))  # [B, lines, H, L, K]
        else:
            count = -(-length // self.span)
            starts = self.span * torch.arange(count, device=device)[:, None]
            along = (starts + torch.arange(-self.span, 2 * self.span, device=device)).repeat_interleave(self.span, 0)
            along = along[:length]
            rows = weights.unflatten(0, (-1, lines, count)).movedim(2, 3).flatten(3, 4)[:, :, :, :length]
        place = torch.arange(lines, device=device)
        if self.axis == 2:
            keys = along[:, None] * width + place[:, None]  # [h, w, K]
            rows = rows.permute(0, 2, 3, 1, 4)
        else:
            keys = along + place[:, None, None] * width
            rows = rows.transpose(1, 2)
        inside = ((along >= 0) & (along < length)).unsqueeze(1 if self.axis == 2 else 0)
        return rows.flatten(2, 3), torch.where(inside, keys, -1).flatten(0, 1)
