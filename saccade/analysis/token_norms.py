"""Norms of tokens by layer, and outliers.

Darcet et al., arXiv 2309.16588: large models use patches without content to store global features, which appear as
patch tokens with a norm far above the others; registers take over this role.

I images, L layers, N patches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from saccade.analysis.inputs import ImageBatches
from saccade.analysis.layers import layer_outputs
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError

OUTLIER = 3.0  # times the median norm of the layer's patches


@dataclass(frozen=True)
class TokenNorms:
    """Norms of the patches' tokens after each layer.

    Attributes:
        layers: the paths of the L layers.
        quantiles: ``[L, 5]``, the norms at 1, 25, 50, 75 and 99 % of the patches.
        largest: ``[L]``.
        outliers: ``[L]``, the share of patches whose norm is above 3 times the layer's median.
        prefix: ``[L, P]``, the mean norm of each prefix token.
        first: ``[L, h, w]``, the norms of the first image.
        note: which images.
    """

    columns: ClassVar[tuple[str, ...]] = ("layer", "path", "q01", "q25", "median", "q75", "q99", "largest", "outliers")

    layers: tuple[str, ...]
    quantiles: np.ndarray
    largest: np.ndarray
    outliers: np.ndarray
    prefix: np.ndarray
    first: np.ndarray
    note: str = ""

    def __str__(self) -> str:
        lines = [f"norms of patch tokens; outliers are above {OUTLIER:g} x the median; {self.note}".rstrip("; ")]
        lines.append("layer   median      99 %   largest  outliers  prefix tokens")
        for number, quantiles in enumerate(self.quantiles):
            prefix = " ".join(f"{norm:.1f}" for norm in self.prefix[number])
            lines.append(
                f"{number:>5} {quantiles[2]:>8.2f} {quantiles[4]:>9.2f} {self.largest[number]:>9.2f} "
                f"{self.outliers[number]:>9.2%}  {prefix}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "note": self.note, "layers": list(self.layers), "quantiles": to_plain(self.quantiles),
            "largest": to_plain(self.largest), "outliers": to_plain(self.outliers), "prefix": to_plain(self.prefix),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (n, path, *map(float, self.quantiles[n]), float(self.largest[n]), float(self.outliers[n]))
            for n, path in enumerate(self.layers)
        ]


def token_norms(
    predictor: Predictor, images: ImageBatches, *, on_images: Callable[[int, int], None] | None = None
) -> TokenNorms:
    """The norms of a model's tokens over some images of one size.

    Raises:
        ConfigError: the model has no tokens over an image.
    """
    patches: dict[str, list[np.ndarray]] = {}
    prefixes: dict[str, list[np.ndarray]] = {}
    grid, done = None, 0
    for batch in images.batches:
        layers = layer_outputs(predictor, batch.inputs)
        if layers.layout is None:
            raise ConfigError(
                f"this {predictor.source.architecture} has feature maps and no tokens; use activations or cka"
            )
        grid = grid or layers.layout.grid
        for path, tokens in layers.outputs.items():
            norms = tokens.float().norm(dim=-1).cpu().numpy()  # [B, N]
            patches.setdefault(path, []).append(norms[:, layers.layout.num_prefix :])
            prefixes.setdefault(path, []).append(norms[:, : layers.layout.num_prefix])
        done += len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    assert grid is not None  # there is at least one image
    quantiles, largest, outliers = [], [], []
    for parts in patches.values():
        norms = np.concatenate([part.ravel() for part in parts])
        quantiles.append(np.quantile(norms, (0.01, 0.25, 0.5, 0.75, 0.99)))
        largest.append(norms.max())
        outliers.append((norms > OUTLIER * np.median(norms)).mean())
    prefix = [np.concatenate(parts).mean(axis=0) for parts in prefixes.values()]
    first = [parts[0][0].reshape(grid) for parts in patches.values()]
    return TokenNorms(
        tuple(patches), np.stack(quantiles), np.array(largest), np.array(outliers), np.stack(prefix), np.stack(first),
        images.note,
    )  # fmt: skip
