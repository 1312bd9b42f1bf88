"""What each rewrite of saccade/inference/rewrites brings in plain PyTorch: the same model with and without it, in turn.

    python benchmarks/rewrites.py

Processor time of one thread; the median over the rounds of the time without by the time with it.
"""

import copy
import statistics
import time
from collections.abc import Callable

import torch
from machine import describe
from torch import Tensor, nn

import saccade
from saccade.inference.backends.eager import pack_linears
from saccade.inference.rewrites.absorb_keys_values import absorb_keys_values
from saccade.inference.rewrites.fixed_filters import fix_filters
from saccade.inference.rewrites.fold_batch_norm import fold_batch_norm
from saccade.inference.rewrites.fold_layer_scale import fold_layer_scale
from saccade.inference.rewrites.fold_norms import fold_norms
from saccade.models.model import Model

ROUNDS = 11
LAYER_SCALE = {"block": {"embed_dim": 192, "num_heads": 3, "mlp_dim": 768, "layer_scale": 1e-5}}
Rewrite = Callable[[nn.Module], nn.Module]
# model, its options, (H, W) of the images, name of the rewrite, the rewrite
CASES: list[tuple[str, dict, tuple[int, int], str, Rewrite]] = [
    ("vit_ti16", {}, (224, 224), "fold_norms", fold_norms),
    ("vit_ti16", LAYER_SCALE, (224, 224), "fold_layer_scale", fold_layer_scale),
    ("vit_ti16", {}, (224, 224), "absorb_keys_values", absorb_keys_values),
    ("vit_ti16", {}, (224, 224), "packed weights", lambda m: pack_linears(m, 197)),
    ("resnet50", {}, (224, 224), "fold_batch_norm", fold_batch_norm),
    ("detr_r50", {}, (320, 320), "fold_batch_norm", fold_batch_norm),
    ("bit_r50x1", {}, (224, 224), "fixed_filters", fix_filters),
]


def ratio(model: Model, rewrite: Rewrite, images: Tensor) -> tuple[float, float]:
    """Milliseconds of a pass without the rewrite, and how much faster one with it is."""
    changed = rewrite(copy.deepcopy(model))
    times: list[list[float]] = [[], []]
    for number in range(ROUNDS + 1):
        for net, samples in zip((model, changed), times):
            start = time.process_time()
            net(images)
            if number:
                samples.append(time.process_time() - start)
    return 1000 * statistics.median(times[0]), statistics.median(a / b for a, b in zip(*times))


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    print(f"{describe()}, one thread, batch 1, {ROUNDS} rounds, processor time\n")
    print("| model, image | rewrite | ms without | faster by |\n| --- | --- | --- | --- |")
    for name, options, size, title, rewrite in CASES:
        model = saccade.create(name, options=options).eval().requires_grad_(False)
        without, faster = ratio(model, rewrite, model.example_inputs(1, size)[0])
        print(f"| {name}, {size[0]} × {size[1]} | {title} | {without:.1f} | {faster:.3f} |", flush=True)


if __name__ == "__main__":
    main()
