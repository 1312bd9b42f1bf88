"""Every task and every recipe takes three steps in two processes, with its default model in small.

DDP waits for a gradient of every parameter that requires one: a parameter that no loss reaches stops a run at its
second step. The processes of a group are started once, since importing takes longer than the steps.
"""

import math
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.tasks.table import TASKS
from saccade.training import resume
from saccade.training.config import list_recipes, resolve
from saccade.training.events import StepDone
from tests.engine.batch_cuts import start_two
from tests.golden.cases import BACKBONE, BLOCK, CASES, COMMON, DETECT, DETR, DIGITS, several_labels
from tests.running import train

STEPS, WORLD = 3, 2
VIT = {**BLOCK, "depth": 2, "patch_size": [4, 4]}
DECODER = {"decoder.embed_dim": 16, "decoder.num_heads": 2, "decoder.mlp_dim": 32, "decoder_depth": 1}
ON_DIGITS = {**DIGITS, "data.digits.val": 0, "batch_size": 12, "model.image_size": [8, 8], "model.options": VIT}

# Recipes that no golden case uses.
RECIPES: dict[str, dict[str, Any]] = {
    "cifar": {**ON_DIGITS, "recipe": "cifar"},
    "deit": {**ON_DIGITS, "recipe": "deit"},
    "finetune": {**ON_DIGITS, "recipe": "finetune"},
    "scratch": {**ON_DIGITS, "recipe": "scratch"},
    "mae": {**ON_DIGITS, "recipe": "mae", "model.options": {**VIT, **DECODER}},
    "detr": {
        **DETECT,
        "recipe": "detr",
        "model.options": {**DETR, "backbone_config.depths": [1, 1, 1, 1]},
        "detection.multi_scale": False,
    },
    "segment_hybrid": CASES["segment"]
    | {
        "model.name": "dpt_small_hybrid",
        "model.options": {**BACKBONE, "backbone_config.stem.width": 32, "features": 8},
    },
    "multilabel": several_labels(),
    "multilabel_finetune": {**several_labels(), "recipe": "multilabel_finetune"},
    "mae_digits": {**ON_DIGITS, "recipe": "mae_digits", "model.options": {**VIT, **DECODER}},
}
ALL = {**CASES, **RECIPES}
TEXTS_AND_BOXES = ("contrast", "detect", "detr", "translate", "words")
GROUPS = {
    "images": [name for name in ALL if not name.startswith(TEXTS_AND_BOXES)],
    "boxes and texts": [name for name in ALL if name.startswith(TEXTS_AND_BOXES)],
}


def run_cases(rank: int, names: list[str], ports: list[int], folder: str) -> None:
    torch.set_num_threads(1)
    choice = MatmulPrecisionChoice("highest", "float32 matmul precision: highest")
    resume.choose_matmul_precision = lambda *_, **__: choice  # measuring it takes longer than the steps
    for name, port in zip(names, ports):
        os.environ |= {"WORLD_SIZE": str(WORLD), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        print(f"rank {rank}: {name}", flush=True)
        losses: list[float] = []

        def watch(event: object, losses: list[float] = losses) -> None:
            if isinstance(event, StepDone):
                losses.append(event.loss)

        config = resolve(overrides={**COMMON, **ALL[name], "schedule.steps": STEPS})
        result = train(config, output=Path(folder) / name, on_event=watch)
        assert result.finished, name
        assert result.metrics is not None, name
        if rank == 0:
            assert len(losses) == STEPS, name
            assert all(math.isfinite(loss) for loss in losses), name


@pytest.mark.parametrize("group", GROUPS)
def test_three_steps_in_two_processes(group: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in GROUPS[group]]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    start_two(run_cases, (GROUPS[group], ports, str(tmp_path)))


def test_no_task_and_no_recipe_is_left_out() -> None:
    configs = [resolve(overrides={**COMMON, **case}) for case in ALL.values()]
    assert {config.task for config in configs} == set(TASKS)
    assert {config.recipe for config in configs} == set(list_recipes())
    assert {name for group in GROUPS.values() for name in group} == set(ALL)
