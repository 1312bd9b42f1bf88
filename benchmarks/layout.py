"""How fast models train with the channels of a place side by side, beside the usual layout.

python benchmarks/layout.py
"""

import statistics
import time

import torch
from machine import describe
from torch import Tensor, nn

import saccade

CASES = [
    ("yolo_small", 128, 16), ("detr_small", 128, 16), ("dpt_small", 128, 16), ("dpt_small_hybrid", 128, 16),
    ("resnet18_small", 32, 16), ("convmixer_256_8", 32, 16), ("conv_vit7", 32, 16), ("resnet50", 224, 4),
]  # model, side in pixels, images a step  # fmt: skip
ROUNDS = 7


def seconds(model: nn.Module, images: Tensor) -> float:
    """Of one forward and one backward pass."""
    start = time.perf_counter()
    outputs = model(images)
    sum(
        part.float().mean() for part in ([outputs] if isinstance(outputs, Tensor) else outputs[:2]) if part is not None
    ).backward()
    return time.perf_counter() - start


def main() -> None:
    print(f"{describe()}, medians of {ROUNDS} paired rounds\n")
    print("| model | images/s | channels side by side | ratio |\n| --- | --- | --- | --- |")
    for name, side, batch in CASES:
        images = torch.randn(batch, 3, side, side)
        usual = saccade.create(name).train()
        beside = saccade.create(name).train().to(memory_format=torch.channels_last)
        pairs = [(seconds(usual, images), seconds(beside, images)) for _ in range(ROUNDS + 2)][2:]
        one, other = (batch / statistics.median(times) for times in zip(*pairs))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"| {name}, {side} × {side} | {one:.1f} | {other:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
