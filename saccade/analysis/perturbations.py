"""How much a model's output depends on where things are: images shifted, their tiles shuffled, parts of them hidden.

A convolution is equivariant to shifts, attention without positions to every permutation of the patches; what a network
keeps of either is measured here. Shuffling and occlusion as in Naseer et al., arXiv 2105.10497.

B images, S levels of a perturbation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.inputs import ImageBatches, gives_one_class, gives_probabilities, image_reader
from saccade.analysis.result import to_plain
from saccade.engine.finite import floating_tensors
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

Kind = Literal["shift", "shuffle", "occlusion"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LABELS = {"shift": "shift to the right (pixels)", "shuffle": "tiles a side, shuffled", "occlusion": "fraction hidden"}
LARGEST_GRID = 14  # of the tiles of a model without tokens


@dataclass(frozen=True)
class PerturbationCurve:
    """One model under one perturbation.

    Attributes:
        model: its name.
        kind: of the perturbation.
        levels: ``[S]``; the first leaves the image as it is.
        change: ``[S]``, the mean over images of |f(x') - f(x)| / |f(x)|, of the logits or the features; of a detector
            of all its outputs.
        change_std: ``[S]``.
        agreement: ``[S]``, the share of images whose best class is that of the image as it is; None without classes.
        accuracy: ``[S, 3]``, value and 95 % interval; None without targets.
        images: how many.
    """

    model: str
    kind: Kind
    levels: tuple[float, ...]
    change: np.ndarray
    change_std: np.ndarray
    agreement: np.ndarray | None
    accuracy: np.ndarray | None
    images: int


@dataclass(frozen=True)
class Perturbation:
    """The curves of one or more models on the same images."""

    columns: ClassVar[tuple[str, ...]] = (
        "model", "level", "change", "change_std", "agreement", "accuracy", "accuracy_low", "accuracy_high",
    )  # fmt: skip

    kind: Kind
    curves: tuple[PerturbationCurve, ...]
    note: str

    def __str__(self) -> str:
        lines = [f"{self.kind}; {self.note}"]
        for curve in self.curves:
            lines += [curve.model, f"{LABELS[self.kind]:>28}  change of the output  same class  accuracy"]
            for n, level in enumerate(curve.levels):
                same = "" if curve.agreement is None else f"{curve.agreement[n]:.1%}"
                right = ""
                if curve.accuracy is not None:
                    value, low, high = curve.accuracy[n]
                    right = f"{value:.1%} ({low:.1%} to {high:.1%})"
                change = f"{curve.change[n]:.3f} ± {curve.change_std[n]:.3f}"
                lines.append(f"{level:>28g}  {change:>20}  {same:>10}  {right}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        def plain(values: np.ndarray | None) -> Any:
            return None if values is None else to_plain(values)

        curves = [
            {
                "model": c.model, "levels": list(c.levels), "change": plain(c.change),
                "change_std": plain(c.change_std),
                "agreement": plain(c.agreement), "accuracy": plain(c.accuracy), "images": c.images,
            }
            for c in self.curves
        ]  # fmt: skip
        return {"kind": self.kind, "note": self.note, "curves": curves}

    def rows(self) -> list[tuple[Any, ...]]:
        none = (None, None, None)
        return [
            (
                c.model, level, float(c.change[n]), float(c.change_std[n]),
                None if c.agreement is None else float(c.agreement[n]),
                *(none if c.accuracy is None else map(float, c.accuracy[n])),
            )
            for c in self.curves
            for n, level in enumerate(c.levels)
        ]  # fmt: skip


def shift(images: Tensor, pixels: int) -> Tensor:
    """``[B, C, H, W]`` moved to the right; what leaves the image enters at its left, so that nothing is lost."""
    return images.roll(pixels, dims=-1)


def shuffle(images: Tensor, tiles: int, generator: torch.Generator) -> Tensor:
    """``[B, C, H, W]`` cut into ``tiles`` x ``tiles`` of one size, each image's in another random order.

    Rows and columns of pixels that do not fill a tile stay in place.
    """
    height, width = (length // tiles for length in images.shape[-2:])
    inner = images[..., : height * tiles, : width * tiles]
    parts = inner.unflatten(-1, (tiles, width)).unflatten(-3, (tiles, height))  # [B, C, t, h, t, w]
    parts = parts.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [B, t t, C, h, w]
    order = torch.stack([torch.randperm(tiles * tiles, generator=generator) for _ in range(len(images))])
    parts = parts.gather(1, order.to(images.device)[:, :, None, None, None].expand_as(parts))
    back = parts.unflatten(1, (tiles, tiles)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    out = images.clone()
    out[..., : height * tiles, : width * tiles] = back
    return out


def occlude(images: Tensor, fraction: float, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """``[B, C, H, W]`` with a fraction of the places of a grid set to 0, which is the mean of normalised images."""
    rows, columns = grid
    hidden = round(fraction * rows * columns)
    scores = torch.rand(len(images), rows * columns, generator=generator)
    visible = torch.ones_like(scores)
    visible.scatter_(1, scores.topk(hidden, dim=1).indices, 0.0)
    mask = visible.unflatten(1, grid)[:, None].to(images.device)
    return images * torch.nn.functional.interpolate(mask, size=images.shape[-2:], mode="nearest-exact")


def perturbation_curve(
    predictor: Predictor,
    images: ImageBatches,
    kind: Kind,
    levels: Sequence[float] | None = None,
    *,
    name: str = "",
    seed: int = 0,
    on_images: Callable[[int, int], None] | None = None,
) -> PerturbationCurve:
    """The output of a model while its images are perturbed more and more.

    Args:
        predictor: a model of images.
        images: to run it on; accuracy is measured where they have classes.
        kind: "shift" by a number of pixels, "shuffle" of tiles per side, "occlusion" of a fraction of the patches.
        levels: 0 to 8 pixels and a whole patch; 1, 2, 4, ... tiles to one for each patch; 0 to 0.9, by default. The
            level that changes nothing is added in front.
        name: of the model; its architecture by default.
        seed: of the order of tiles and of the hidden places, which are the same for every model.
        on_images: called with (images done, images in all).

    Raises:
        ConfigError: there is no such kind, a level is out of range, or the model reads more than an image.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no perturbation {kind!r}: choose {', '.join(KINDS)}")
    reader = image_reader(predictor)
    steps: tuple[float, ...] = ()
    changes, agreements, rights, done = [], [], [], 0
    for number, batch in enumerate(images.batches):
        inputs = batch.inputs.to(predictor.device)
        grid = tile_grid(predictor, inputs)
        steps = steps or _levels(kind, levels, grid, inputs)
        outputs = []
        for level in steps:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            changed = perturbed(inputs, kind, level, grid, generator)
            with torch.inference_mode(), evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
                tensors = [x for x in floating_tensors(reader(changed)) if len(x) == len(inputs)]  # of each image
            outputs.append(torch.cat([x.float().cpu().flatten(1) for x in tensors], dim=1))
        stacked = torch.stack(outputs)  # [S, B, K]
        scale = stacked[0].norm(dim=-1).clamp(min=1e-12)
        changes.append((stacked - stacked[0]).norm(dim=-1) / scale)
        if gives_probabilities(predictor):
            best = stacked.argmax(dim=-1)
            agreements.append(best == best[0])
            if images.class_index is not None and gives_one_class(predictor) and isinstance(batch.labels, Tensor):
                rights.append(best == images.class_index[batch.labels])
        done += len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    change = torch.cat(changes, dim=1).numpy()
    accuracy = None
    if rights:
        right = torch.cat(rights, dim=1)
        accuracy = np.array([(k / right.shape[1], *wilson(k, right.shape[1])) for k in right.sum(dim=1).tolist()])
    agreement = torch.cat(agreements, dim=1).double().mean(dim=1).numpy() if agreements else None
    label = name or predictor.source.architecture
    return PerturbationCurve(
        label, kind, steps, change.mean(axis=1), change.std(axis=1), agreement, accuracy, change.shape[1]
    )


def perturbed(images: Tensor, kind: Kind, level: float, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """``[B, C, H, W]`` at a level of a perturbation."""
    if kind == "shift":
        return shift(images, int(level))
    if kind == "shuffle":
        return shuffle(images, int(level), generator)
    return occlude(images, level, grid, generator)


def tile_grid(predictor: Predictor, images: Tensor) -> tuple[int, int]:
    """The grid of the model's patches; of a model without tokens at most 14 tiles a side."""
    height, width = images.shape[-2:]
    layout = predictor.model.token_layout((height, width))
    if layout is not None:
        return layout.grid
    return min(LARGEST_GRID, height // 2), min(LARGEST_GRID, width // 2)


def _levels(kind: Kind, levels: Sequence[float] | None, grid: tuple[int, int], images: Tensor) -> tuple[float, ...]:
    width = images.shape[-1]
    side = min(grid)
    nothing = 1.0 if kind == "shuffle" else 0.0
    if levels is None:
        if kind == "shift":
            patch = width // grid[1]
            levels = sorted({*range(min(8, patch) + 1), patch})
        elif kind == "shuffle":
            levels = sorted({2**n for n in range(side.bit_length()) if 2**n <= side} | {side})
        else:
            levels = [n / 10 for n in range(10)]
    largest = {"shift": width, "shuffle": min(images.shape[-2:]), "occlusion": 1.0}[kind]
    for level in levels:
        if not nothing <= level <= largest or (kind != "occlusion" and level != round(level)):
            raise ConfigError(f"{kind} takes levels from {nothing:g} to {largest:g}, not {level:g}")
    return (nothing, *(float(level) for level in levels if level != nothing))


def wilson(successes: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA, 1927), which is right for few images and near 0 and 1 too."""
    share = successes / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)
