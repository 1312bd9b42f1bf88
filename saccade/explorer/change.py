"""Changes of a run: hidden patches, heads and blocks that are switched off, another temperature."""

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from saccade.analysis.intervention import Fill, intervene
from saccade.errors import ConfigError
from saccade.nn.tokens import TokenLayout

FILLS: tuple[Fill, ...] = ("drop", "zero", "mean", "blur")
MAX_NUMBERS = 100_000  # in one list, so that a short text such as 0-999999999 does not fill the memory
PARAMETERS = ("hide", "fill", "heads", "blocks", "temperature")


@dataclass(frozen=True)
class Change:
    """Changes of a run; none by default.

    Attributes:
        hide: indices of patches in the grid, row by row, from 0; or of the tokens of a text.
        fill: treatment of hidden patches, as in :func:`saccade.intervene`.
        heads: (attention, head), by index among the model's attentions.
        blocks: indices among the model's blocks.
        temperature: the scores of every attention are divided by it.
    """

    hide: tuple[int, ...] = ()
    fill: Fill = "drop"
    heads: tuple[tuple[int, int], ...] = ()
    blocks: tuple[int, ...] = ()
    temperature: float = 1.0

    def __bool__(self) -> bool:
        return bool(self.hide or self.heads or self.blocks or self.temperature != 1)

    def hidden_map(self, layout: TokenLayout) -> Tensor:
        """Which patches are hidden, ``[N]`` boolean.

        Raises:
            ConfigError: a patch outside of the grid.
        """
        if self.hide and self.hide[-1] >= layout.num_patches:
            raise ConfigError(f"there is no patch {self.hide[-1]}: they are 0 to {layout.num_patches - 1}")
        hidden = torch.zeros(layout.num_patches, dtype=torch.bool)
        hidden[list(self.hide)] = True
        return hidden

    def applied(self, model: nn.Module, layout: TokenLayout | None) -> AbstractContextManager[None]:
        """A context in which the model runs with this change.

        Raises:
            ConfigError: a patch outside of the grid.
            InterventionError: the model has no such head or block, or cannot be changed in this way.
        """
        tokens = list(self.hide)
        if self.hide and layout is not None:
            tokens = [layout.num_prefix + patch for patch in self.hidden_map(layout).nonzero()[:, 0].tolist()]
        heads: dict[int | str, list[int]] = {}
        for attention, head in self.heads:
            heads.setdefault(attention, []).append(head)
        return intervene(
            model,
            heads=heads,
            blocks=self.blocks,
            tokens=tokens or None,
            fill=self.fill,
            temperature=self.temperature,
        )

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """From the parameters of a URL: ``hide=0-3,9&fill=zero&heads=0.3,11.2&blocks=4&temperature=2``.

        Raises:
            ConfigError: a value that does not parse.
        """
        fill = query.get("fill", "drop")
        if fill not in FILLS:
            raise ConfigError(f"fill must be one of {', '.join(FILLS)}, not {fill!r}")
        return cls(
            hide=parse_ranges(query.get("hide", "")),
            fill=fill,
            heads=tuple(sorted({_parse_head(text) for text in query.get("heads", "").split(",") if text})),
            blocks=parse_ranges(query.get("blocks", "")),
            temperature=_parse_temperature(query.get("temperature", "1")),
        )


def parse_ranges(text: str) -> tuple[int, ...]:
    """``"5-7,9"`` -> (5, 6, 7, 9), sorted and unique.

    Raises:
        ConfigError: other characters, or more than 100,000 numbers.
    """
    numbers: set[int] = set()
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", part)
        if match is None:
            raise ConfigError(f"{part!r} is neither a number nor a range such as 5-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first + len(numbers) > MAX_NUMBERS:
            raise ConfigError(f"{part} has too many numbers")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def format_ranges(numbers: Iterable[int]) -> str:
    """The inverse of :func:`parse_ranges`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _parse_head(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})", text)
    if match is None:
        raise ConfigError(f"{text!r} is no head; write LAYER.HEAD, such as 11.2")
    return int(match[1]), int(match[2])


def _parse_temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.05 <= value <= 20:
        raise ConfigError(f"temperature must be a number from 0.05 to 20, not {text!r}")
    return value
