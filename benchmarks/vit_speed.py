"""A ViT beside its peers: the same weights, one process, interleaved rounds, medians and ratios.

    python benchmarks/vit_speed.py --model vit_s16 --batch-size 8
    python benchmarks/vit_speed.py --model small --batch-size 64        # 32 x 32 pixels, width 192, six blocks

A peer's training step has AdamW as PyTorch makes it by default, and once more the fused one. Saccade multiplies in the
float32 precision that `choose_matmul_precision` chose for this machine; a peer runs as its users run it. A ratio above
1 means that Saccade is faster.
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

from saccade.models.vit import VisionTransformer, vit_config
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.matmul_precision import choose_matmul_precision, matmul_precision
from saccade.nn.transformer import BlockConfig

CONFIGS: dict[str, ViTConfig] = {
    "vit_ti16": vit_config("ti", 16),
    "vit_s16": vit_config("s", 16),
    "vit_b16": vit_config("b", 16),
    "small": ViTConfig(BlockConfig(192, 3, 768), 6, image_size=(32, 32), patch_size=(4, 4)),
}


def peers(config: ViTConfig) -> dict[str, nn.Module]:
    """The same architecture from each library, with fresh weights."""
    block, (size, patch) = config.block, (config.image_size[0], config.patch_size[0])
    huggingface = transformers.ViTConfig(
        hidden_size=block.embed_dim, num_hidden_layers=config.depth, num_attention_heads=block.num_heads,
        intermediate_size=block.mlp_dim, num_labels=config.num_classes, attn_implementation="sdpa",
        image_size=size, patch_size=patch,
    )  # fmt: skip
    plain = timm.models.vision_transformer.VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=block.embed_dim, depth=config.depth, num_heads=block.num_heads
    )
    return {
        "saccade": VisionTransformer(config),
        "timm": plain,
        "transformers": transformers.ViTForImageClassification(huggingface),
    }


def forward(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """One batch of inference, weights and images in `dtype`."""
    model, images = model.eval().to(dtype), images.to(dtype)

    def step() -> None:
        with torch.inference_mode():
            model(images)

    return step


def training_step(
    model: nn.Module, images: Tensor, dtype: torch.dtype, fused: bool | None = None
) -> Callable[[], None]:
    """Forward, backward and AdamW; bfloat16 by autocast, as users train."""
    model = model.train().float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)
    labels = torch.arange(len(images)) % 1000

    def step() -> None:
        with torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext():
            output = model(images)
            loss = nn.functional.cross_entropy(getattr(output, "logits", output), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ways(job: str, config: ViTConfig, images: Tensor, dtype: torch.dtype) -> dict[str, Callable[[], None]]:
    """One step of a job by each library; in training, each peer's with both kinds of AdamW."""
    models = peers(config)
    if job == "inference":
        return {name: forward(model, images, dtype) for name, model in models.items()}
    steps = {"saccade": training_step(models["saccade"], images, dtype, fused=True)}
    for name in ("timm", "transformers"):
        steps[name] = training_step(models[name], images, dtype)
        steps[f"{name}, fused AdamW"] = training_step(peers(config)[name], images, dtype, fused=True)
    return steps


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
    parser.add_argument("--model", default="vit_s16", choices=CONFIGS)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    options = parser.parse_args()
    torch.manual_seed(0)
    config = CONFIGS[options.model]
    images = torch.randn(options.batch_size, 3, *config.image_size)
    choice = choose_matmul_precision("cpu", VisionTransformer(config).eval(), batch_size=options.batch_size)
    print(f"{options.model}, batch {options.batch_size}, {options.rounds} rounds; {describe()}\n{choice.reason}\n")
    print("| job | implementation | images/s | saccade is faster by (median of rounds) |\n| --- | --- | --- | --- |")
    for job in ("inference", "training step"):
        for dtype in (getattr(torch, name) for name in options.dtypes):
            steps = ways(job, config, images, dtype)
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
