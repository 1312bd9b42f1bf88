"""Every family of models through the exporters: small models of all of them in one graph (detectors and CLIP have their
own tests).

Rewritten as for an export, written as one file of ONNX and of OpenVINO, and compared with each plain model.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.engine.graph_end import GraphEnd, GraphPart, Trial
from saccade.inference.export.metadata import Metadata
from saccade.inference.export.onnx_file import write_onnx
from saccade.inference.export.openvino_file import write_openvino
from saccade.inference.export.parity import TOLERANCE, Parity
from saccade.inference.export.part import PartGraph, part_rows, trace_part
from saccade.inference.export.sessions import open_session
from saccade.inference.rewriting import rewritten
from saccade.models import alexnet, vgg
from saccade.models.deit import DeiTConfig, DistilledViT
from saccade.models.model import Model
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import create
from saccade.nn.transformer import BlockConfig
from saccade.tasks import table

SIZE, CLASSES = (64, 64), 5
BLOCK = BlockConfig(24, 3, 40, layer_scale=0.5)
LATENTS = {
    "latents.count": 4, "latents.depth": 1, "latents.passes": 1, "latents.block.embed_dim": 24,
    "latents.block.num_heads": 3, "latents.block.mlp_dim": 24,
}  # fmt: skip
FEW_LAYERS = ((8, 11, 4, 2, True), (8, 5, 1, 2, True), (8, 3, 1, 1, True))


def zoo(name: str, **options: object) -> Callable[[], Model]:
    return lambda: create(name, options={"image_size": SIZE, "in_channels": 3, "num_classes": CLASSES, **options})


def vit(classes: int = CLASSES, **options: object) -> Callable[[], Model]:
    return lambda: VisionTransformer(ViTConfig(BLOCK, 1, image_size=SIZE, num_classes=classes, **options))


CLASSIFIERS: Mapping[str, Callable[[], Model]] = {
    "alexnet": zoo("alexnet"),
    "axial_resnet": zoo("axial_resnet26_s", depths=(1, 1), width=8),
    "convnext": zoo("convnext_t", depths=(1, 1), widths=(8, 12)),
    "deit_distilled": lambda: DistilledViT(DeiTConfig(BLOCK, 1, SIZE, num_classes=CLASSES)),
    "hybrid": zoo("hybrid_r_ti16", depth=1, **{"stem.depths": (), "block.embed_dim": 24, "block.mlp_dim": 40}),
    "lenet": zoo("lenet"),
    "local_resnet": zoo("local_resnet26", depths=(1, 1), width=16),
    "perceiver_fourier": zoo("perceiver_fourier", bands=2, **LATENTS),
    "resnet": zoo("resnet50", depths=(1, 1), width=4),
    "vgg": zoo("vgg11_bn", depths=(1, 1, 0, 0, 1)),
}
OTHER_TASKS: Mapping[str, tuple[Callable[[], Model], dict[str, object]]] = {
    "multilabel": (vit(), {"thresholds": [0.5] * CLASSES}),
    "regression": (vit(1, pooling="mean"), {"mean": 7.0, "std": 3.0}),
}


class Families(GraphPart):
    """The ends of several models side by side, on images that are prepared: `images` ``[B, 3, H, W]``.

    Args:
        ends: of each model.
        outputs: names of all results, each behind its model's.
    """

    name, inputs = "", ("images",)
    dims: Mapping[str, Mapping[int, str]] = {"images": {0: "batch"}}

    def __init__(self, ends: Mapping[str, GraphEnd]):
        self.ends = ends

    def run(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        images, results = inputs["images"], {}
        valid, sizes = torch.ones(images.shape[0], *SIZE, dtype=torch.bool), torch.tensor(SIZE)
        for name, end in self.ends.items():
            outputs = end.run(model.get_submodule(name), images, valid, sizes)
            results |= {f"{name}_{output}": value for output, value in outputs.items()}
        self.outputs = tuple(results)
        return results

    def trials(self, model: nn.Module) -> list[Trial]:
        generator = torch.Generator().manual_seed(0)
        return [Trial("random", {"images": torch.randn(n, 3, *SIZE, generator=generator)}) for n in (1, 5, 2)]


def away_from_first_values(model: Model) -> Model:
    torch.manual_seed(0)
    for name, tensor in model.eval().state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point() and tensor.ndim <= 1:
            tensor.add_(torch.randn_like(tensor) * 0.3)
    return model


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks whose widths are constants of the paper get others."""
    values: tuple[tuple[ModuleType, str, object], ...] = (
        (alexnet, "LAYERS", FEW_LAYERS), (alexnet, "HIDDEN", 8), (vgg, "WIDTHS", (8, 8, 8, 8, 8)), (vgg, "HIDDEN", 8),
    )  # fmt: skip
    for module, name, value in values:
        monkeypatch.setattr(module, name, value)


@pytest.mark.long
def test_every_family_is_the_same_in_onnx_and_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    rows = {name: ("classification", make, {}) for name, make in CLASSIFIERS.items()}
    rows |= {task: (task, *row) for task, row in OTHER_TASKS.items()}
    models, ends = {}, {}
    labels = tuple(f"class {number}" for number in range(CLASSES))
    for name, (task, make, state) in rows.items():
        models[name] = away_from_first_values(make())
        source = LoadedModel(models[name], name, labels, Preprocessing(SIZE), task=task, task_state=state)
        room = table.room(task)
        ends[name] = room.graph_end(source, room.task(source))
    part, plain = Families(ends), nn.ModuleDict(models)
    graph = PartGraph(part, nn.ModuleDict({name: rewritten(model) for name, model in models.items()})).eval()
    with torch.inference_mode():
        part.run(plain, part.trials(plain)[0].inputs)
    program = trace_part(graph)
    metadata = Metadata("0", "several", {}, "classification", [], {}, list(part.outputs))
    write_onnx(program, part.inputs, metadata, tmp_path / "model.onnx")
    write_openvino(tmp_path / "model.onnx", metadata, tmp_path / "model.xml")
    for name, to in (("model.onnx", "onnx"), ("model.xml", "openvino")):
        # OpenVINO's own tolerance is for the weights of resizing, which these graphs do not have
        parity = Parity(part_rows(part, plain, open_session(tmp_path / name, 1)), TOLERANCE["onnx"])
        assert parity.ok, f"{to}\n{parity}"
        assert {output.rpartition("_")[0] for output in parity.rows[0].differences} == set(rows)
