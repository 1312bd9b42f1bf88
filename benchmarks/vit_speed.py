"""A ViT beside its peers: the same weights, one process, interleaved rounds, medians and ratios.

    python benchmarks/vit_speed.py --model vit_s16 --batch-size 8

Saccade multiplies in the float32 precision that `choose_matmul_precision` chose for this machine; a peer runs
as its users run it. A ratio above 1 means that Saccade is faster.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import timm
import torch
import transformers
from machine import describe
from torch import Tensor, nn

import saccade
from saccade.models.vit import VisionTransformer
from saccade.nn.matmul_precision import choose_matmul_precision, matmul_precision

TIMM_NAMES = {"vit_ti16": "vit_tiny_patch16_224", "vit_s16": "vit_small_patch16_224", "vit_b16": "vit_base_patch16_224"}


def peers(name: str) -> dict[str, nn.Module]:
    """The same architecture from each library, with fresh weights."""
    config = saccade.create(name).config
    block = config.block
    huggingface = transformers.ViTConfig(
        hidden_size=block.embed_dim, num_hidden_layers=config.depth, num_attention_heads=block.num_heads,
        intermediate_size=block.mlp_dim, num_labels=config.num_classes, attn_implementation="sdpa",
    )  # fmt: skip
    return {
        "saccade": VisionTransformer(config),
        "timm": timm.create_model(TIMM_NAMES[name]),
        "transformers": transformers.ViTForImageClassification(huggingface),
    }


def forward(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """One batch of inference, weights and images in `dtype`."""
    model, images = model.eval().to(dtype), images.to(dtype)

    def step() -> None:
        with torch.inference_mode():
            model(images)

    return step


def training_step(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """Forward, backward and AdamW; bfloat16 by autocast, as users train."""
    model = model.train().float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    labels = torch.arange(len(images)) % 1000

    def step() -> None:
        with torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext():
            output = model(images)
            loss = nn.functional.cross_entropy(getattr(output, "logits", output), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def interleaved(steps: dict[str, Callable[[], None]], rounds: int) -> Iterator[tuple[str, float]]:
    """Seconds of each step, in turn, so that a slow moment of the machine hits all alike."""
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            yield name, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_s16", choices=TIMM_NAMES)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randn(options.batch_size, 3, 224, 224)
    choice = choose_matmul_precision("cpu", saccade.create(options.model).eval(), batch_size=options.batch_size)
    print(f"{options.model}, batch {options.batch_size}, {options.rounds} rounds; {describe()}\n{choice.reason}\n")
    print("| job | way | images/s | saccade is faster by (median of rounds) |\n| --- | --- | --- | --- |")
    for job, make in (("inference", forward), ("training step", training_step)):
        for dtype in (torch.float32, torch.bfloat16):
            steps = {name: make(model, images, dtype) for name, model in peers(options.model).items()}
            plain = steps["saccade"]

            def fast(step: Callable[[], None] = plain) -> None:
                with matmul_precision(choice.precision):
                    step()

            seconds: dict[str, list[float]] = {name: [] for name in steps}
            for name, elapsed in interleaved({**steps, "saccade": fast}, options.rounds):
                seconds[name].append(elapsed)
            for name, times in seconds.items():
                ratio = statistics.median(t / s for t, s in zip(times, seconds["saccade"]))
                rate = options.batch_size / statistics.median(times)
                print(f"| {job}, {str(dtype).removeprefix('torch.')} | {name} | {rate:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
