"""Saccade's training loop beside timm's, or beside an earlier Saccade: one step of each in turn, each in its process.

    python -m benchmarks.training --models vit_ti16 small
    python -m benchmarks.training --models detr_small dpt_small --before ../earlier   # a checkout of another version

The ViTs have the same weights, batches, AdamW, rates and clipping in both loops, so the losses must agree; `small` is a
ViT of six blocks of width 192 on 32 x 32 pixels in patches of 4 x 4. One thread. Times are the processor's unless
`--clock wall`; a ratio is the median over the steps of the other's time by Saccade's, and above 1 Saccade is faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import timm
import torch

from benchmarks.machine import describe
from saccade.data.batching import TrainOrder
from saccade.models.vit import vit_config
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig
from saccade.training.config import resolve
from saccade.training.schedules import lr_factor

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "benchmarks" / "training" / "worker.py"
VITS: dict[str, tuple[ViTConfig, int]] = {  # model -> config, batch
    "vit_ti16": (vit_config("ti", 16), 8),
    "small": (ViTConfig(BlockConfig(192, 3, 768), 6, image_size=(32, 32), patch_size=(4, 4), num_classes=10), 64),
}
TASKS = {"detr_small": ("detect", 16), "dpt_small": ("depth", 16)}  # model -> recipe, batch
PLAIN = {"preflight": False, "data.check": "off", "data.workers": 0, "checkpoint_seconds": 1e9, "select": "last"}
WARM_UP = 2  # steps that are not counted


@dataclass(frozen=True)
class Samples:
    """What the steps of one loop took: seconds, losses, and the largest resident memory of its process in bytes; the
    prediction and the measurement of a whole run where it has them."""

    seconds: list[float]
    losses: list[float]
    peak: int
    predicted: str = ""


def vit_job(name: str, folder: Path, steps: int) -> dict[str, Any]:
    """What both loops need to take the same steps."""
    config, batch = VITS[name]
    block, side = config.block, config.image_size[0]
    arguments = {
        "img_size": side, "patch_size": config.patch_size[0], "num_classes": config.num_classes,
        "embed_dim": block.embed_dim, "depth": config.depth, "num_heads": block.num_heads,
    }  # fmt: skip
    net = timm.models.vision_transformer.VisionTransformer(**arguments)
    torch.save(net.state_dict(), folder / "weights.pt")
    classes = torch.randint(10, (8 * batch,))
    images = torch.randn(10, 3, side, side)[classes] + 2 * torch.randn(8 * batch, 3, side, side)
    torch.save((images, classes), folder / "images.pt")
    overrides = {**PLAIN, "batch_size": batch, "schedule.steps": steps, "ema": 0.0}
    run = resolve("scratch", overrides=overrides)
    order = TrainOrder(len(images), batch, run.seed)
    factors = [lr_factor(n, steps, run.schedule.warmup, run.schedule.final_lr) for n in range(steps)]
    return {
        "recipe": "scratch", "overrides": overrides, "config": config.to_dict(), "timm": arguments, "steps": steps,
        "weights": str(folder / "weights.pt"), "images": str(folder / "images.pt"),
        "order": [[index for index, _ in order.items(step)] for step in range(steps)],
        "lr": run.peak_lr, "rates": [run.peak_lr * factor for factor in factors],
        "weight_decay": run.optimizer.weight_decay, "betas": run.optimizer.betas, "clip_norm": run.optimizer.clip_norm,
    }  # fmt: skip


def task_job(name: str, steps: int) -> dict[str, Any]:
    recipe, batch = TASKS[name]
    overrides = {
        **PLAIN, "batch_size": batch, "schedule.steps": steps,
        "data.scenes.train": 400, "data.scenes.val": 0, "data.scenes.test": 0,
    }  # fmt: skip
    return {"recipe": recipe, "overrides": overrides, "timm": None, "steps": steps}


def measure(job: dict[str, Any], ways: dict[str, Path], folder: Path, clock: str) -> dict[str, Samples]:
    """Take every step once in each loop, in turn; `ways` has the code of Saccade that a loop imports."""
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    workers = {}
    for way, root in ways.items():
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        command = [sys.executable, str(WORKER), way, str(path)]
        workers[way] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in workers}
    for way, worker in workers.items():
        answer(worker, way)
    for _ in range(job["steps"]):
        for way, worker in workers.items():
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            rows[way].append(answer(worker, way))
    return {
        way: Samples(
            [r[clock] for r in rows[way][WARM_UP:]], [r["loss"] for r in rows[way]], int(rows[way][-1]["peak"]),
            whole_run(worker),
        )
        for way, worker in workers.items()
    }  # fmt: skip


def whole_run(worker: subprocess.Popen) -> str:
    """The memory of a run that has ended, such as "1139 (1102)"; "" for a loop without a prediction."""
    for line in worker.communicate()[0].splitlines():
        if line.startswith('{"predicted"') and json.loads(line)["predicted"]:
            values = {name: value / 2**20 for name, value in json.loads(line).items()}
            return f"{values['memory']:.0f} ({values['predicted']:.0f})"
    return ""


def answer(worker: subprocess.Popen, way: str) -> dict[str, float]:
    assert worker.stdout is not None
    line = next((line for line in worker.stdout if line.startswith("{")), "")
    if not line:
        raise SystemExit(f"{way} ended before its last step")
    return json.loads(line)


def table(model: str, samples: dict[str, Samples]) -> str:
    ours, lines = samples["saccade"], []
    for way, own in samples.items():
        ratios = sorted(t / s for t, s in zip(own.seconds, ours.seconds))
        low, middle, high = statistics.quantiles(ratios, n=4)
        step = 1000 * statistics.median(own.seconds)
        spread = "" if way == "saccade" else f"{low:.2f}–{high:.2f}"
        gap = max(abs(a - b) for a, b in zip(own.losses, ours.losses))
        losses = f"{own.losses[0]:.4f} → {own.losses[-1]:.4f} | {gap:.0e}"
        memory = f"{own.peak / 2**20:.0f} | {own.predicted}"
        lines.append(f"| {model} | {way} | {step:.0f} | {middle:.2f} | {spread} | {memory} | {losses} |")
    return "\n".join(lines)


def draw(curves: dict[str, dict[str, Samples]], path: Path) -> None:
    """The loss of every step: Saccade's a line, the others' dots."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.2 * len(curves), 2.8), ncols=len(curves), squeeze=False)
    for axis, (model, samples) in zip(axes[0], curves.items()):
        for way, own in samples.items():
            style = {"color": "#0a7d6c"} if way == "saccade" else {"ls": "", "marker": ".", "ms": 4, "color": "#9aa3ad"}
            axis.plot(own.losses, label=way, zorder=1 if way == "saccade" else 2, **style)
        axis.set_title(model, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel("loss", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(VITS), choices=[*VITS, *TASKS])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--clock", default="cpu", choices=["cpu", "wall"])
    parser.add_argument("--before", type=Path, help="checkout of another version of Saccade, as one more loop")
    parser.add_argument("--checkpointing", action="store_true", help="activation checkpointing, as one more loop")
    parser.add_argument("--chart", type=Path, help="picture of the losses")
    options = parser.parse_args(arguments)
    if options.steps < WARM_UP + 2:
        parser.error(f"--steps must be at least {WARM_UP + 2}")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    columns = (
        "model", "loop", "ms a step", "saccade is faster by", "quartiles", "peak memory, MiB", "of a run (predicted)",
        "loss", "difference",
    )  # fmt: skip
    print(f"{options.steps} steps, {options.clock} time, one thread; {describe()}\n")
    print(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
    curves = {}
    for model in options.models:
        ways = {"saccade": ROOT}
        if model in VITS:
            ways |= {"timm": ROOT, "timm, fused AdamW": ROOT}
        if options.checkpointing:
            ways["saccade, activation checkpointing"] = ROOT
        if options.before:
            ways["before"] = options.before.resolve()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = vit_job(model, folder, options.steps) if model in VITS else task_job(model, options.steps)
            curves[model] = measure(job, ways, folder, options.clock)
        print(table(model, curves[model]), flush=True)
    if options.chart:
        draw(curves, options.chart)


if __name__ == "__main__":
    main()
