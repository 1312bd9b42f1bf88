"""One training loop in a process of its own: for each line of stdin one step, its seconds and loss on stdout as JSON.

Saccade's is the loop behind `saccade train`, held at the end of every step; timm's is that of its `train.py`. Runs
under another checkout of Saccade too: nothing here is newer than the loop.
"""

import importlib.util
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

Finish = Callable[[float], None]


class Held:
    """Steps on request: waits for a line before each, and writes what it took."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def ready(self) -> None:
        print(json.dumps({"ready": 1}), flush=True)
        self.wait()

    def wait(self) -> None:
        sys.stdin.readline()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def done(self, loss: float) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
        print(json.dumps({"wall": wall, "cpu": cpu, "loss": loss, "peak": peak}), flush=True)


def run_timm(job: dict[str, Any], held: Held, *, fused: bool) -> None:
    """The step of timm's train.py: forward, backward, clipping, AdamW, the loss read at every step."""
    import timm
    import timm.optim
    import timm.utils

    net: nn.Module = timm.models.vision_transformer.VisionTransformer(**job["timm"])
    net.load_state_dict(torch.load(job["weights"]))
    groups = timm.optim.param_groups_weight_decay(net, job["weight_decay"], net.no_weight_decay())
    optimizer = torch.optim.AdamW(groups, lr=job["lr"], betas=job["betas"], fused=fused or None)
    images, classes = torch.load(job["images"])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, classes), batch_sampler=job["order"], num_workers=0
    )
    loss_of, average = nn.CrossEntropyLoss(), timm.utils.AverageMeter()
    net.train()
    held.ready()
    for step, (inputs, target) in enumerate(loader):
        for group in optimizer.param_groups:
            group["lr"] = job["rates"][step]
        optimizer.zero_grad()
        loss = loss_of(net(inputs), target)
        loss.backward()
        timm.utils.dispatch_clip_grad(net.parameters(), job["clip_norm"], mode="norm")
        optimizer.step()
        average.update(loss.item(), len(inputs))
        held.done(average.val)
        if step + 1 < len(job["order"]):
            held.wait()


def run_saccade(job: dict[str, Any], held: Held) -> None:
    """`saccade.train` on the same weights and images, or a task of `saccade train` on scenes."""
    from saccade.tasks import table
    from saccade.training.config import resolve
    from saccade.training.events import RunStarted, StepDone
    from saccade.training.loop import train

    if importlib.util.find_spec("saccade.cli.allocator"):  # not in earlier versions
        importlib.import_module("saccade.cli.allocator").keep_freed_memory()  # as the command line does
    count = job["steps"]

    def on_event(event: object) -> None:
        if isinstance(event, RunStarted):
            held.ready()
        elif isinstance(event, StepDone):
            held.done(event.loss)
            if event.step < count:
                held.wait()

    config = resolve(job["recipe"], overrides=job["overrides"])
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        if job["timm"] is None:
            result = train(config, table.room(config.task).setup, output=output, on_event=on_event)
        else:
            setup = classifier(job)
            result = train(config, lambda config, device: setup, output=output, on_event=on_event)

    print(json.dumps({"predicted": vars(result).get("predicted_memory"), "memory": vars(result).get("memory")}))


def classifier(job: dict[str, Any]) -> Any:
    """The ViT with timm's weights, on the images in memory."""
    from saccade.checkpoints.formats import timm_vit
    from saccade.checkpoints.mapping import to_ours
    from saccade.data.own import OwnDataset
    from saccade.engine.setup import TrainingSetup, own_model
    from saccade.models.vit import VisionTransformer
    from saccade.models.vit_encoder import ViTConfig
    from saccade.tasks.classification.task import ClassificationTask

    config = ViTConfig.from_dict(job["config"])
    net = VisionTransformer(config)
    net.load_state_dict(to_ours(torch.load(job["weights"]), timm_vit.rules(config))[0])
    images, classes = torch.load(job["images"])
    labels = tuple(map(str, range(config.num_classes)))
    data = OwnDataset(list(zip(images, classes.tolist())))
    return TrainingSetup(own_model(net, labels), ClassificationTask(labels), train=data)


def main(arguments: list[str]) -> None:
    way, path = arguments
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job, held = json.loads(Path(path).read_text()), Held()
    if way.startswith("timm"):
        run_timm(job, held, fused="fused" in way)
    else:
        job["overrides"] |= {"activation_checkpointing": True} if "checkpointing" in way else {}
        run_saccade(job, held)


if __name__ == "__main__":
    main(sys.argv[1:])
