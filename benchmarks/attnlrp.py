"""How faithful relevance by AttnLRP is, read at the tokens and summed over pixels, beside other maps of a class.

    python -m benchmarks.attnlrp WEIGHTS "PHOTOS/*.JPEG" --images 8

prints a row a map: mean deletion area (lower is better), insertion area and SaCo (higher is better).
"""

import argparse

import numpy as np
import torch
from torch import Tensor

import saccade
from benchmarks.machine import describe
from saccade.analysis.attnlrp import attnlrp_map, by_patch
from saccade.analysis.faithfulness import area, blob, curves, probabilities, saco
from saccade.analysis.gradient_maps import grad_cam, relevance_map
from saccade.analysis.inputs import open_images
from saccade.engine.predictor import Predictor


def maps_of(predictor: Predictor, image: Tensor, target: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Every map ``[h, w]`` of one image ``[1, C, H, W]`` for a class."""
    layout = predictor.model.token_layout((image.shape[-2], image.shape[-1]))
    assert layout is not None
    pixels = attnlrp_map(predictor, image, target, pixels=True).values
    return {
        "attnlrp, tokens": attnlrp_map(predictor, image, target).values,
        "attnlrp, sums over pixels": by_patch(pixels, layout),
        "attnlrp, sums of |pixels|": by_patch(pixels.abs(), layout),
        "relevance": relevance_map(predictor, image, target).values,
        "grad-cam": grad_cam(predictor, image, target).values,
        "random": torch.rand(layout.grid, generator=generator),
        "blob": blob(layout.grid),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    predictor = saccade.load(options.model)
    batches = open_images(predictor, options.photos, limit=options.images, batch_size=1)
    generator = torch.Generator().manual_seed(options.seed)
    scores: dict[str, list[tuple[float, float, float]]] = {}
    for batch in batches.batches:
        target = int(probabilities(predictor, batch.inputs)[0].argmax())
        for name, values in maps_of(predictor, batch.inputs, target, generator).items():
            deletion, insertion = curves(predictor, batch.inputs, values, target)
            row = float(area(deletion)), float(area(insertion)), saco(predictor, batch.inputs, values, target)
            scores.setdefault(name, []).append(row)
    print(f"{batches.note}; {describe()}")
    for name, rows in scores.items():
        print(f"{name:<26}", *(f"{value:>7.3f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
