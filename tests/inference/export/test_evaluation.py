"""The metrics of an exported file are those of the model, for the outputs of its graphs as PyTorch computes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.builtin.scenes import scene_splits
from saccade.data.builtin.write_scenes import write_scenes
from saccade.data.config import ScenesConfig
from saccade.engine.evaluation import evaluate
from saccade.engine.images import fresh_preprocessing
from saccade.engine.predictor import Predictor
from saccade.inference.export import evaluation
from saccade.inference.export.export import metadata_of
from saccade.inference.export.graph import ExportGraph
from saccade.inference.export.part import PartGraph
from saccade.tasks import table
from saccade.tasks.loading import load, predictor_of
from tests.explorer.task_models import GOLDEN, clip


@dataclass
class TorchSession:
    """A graph that PyTorch runs."""

    graph: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    properties: Mapping[str, str]

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self.graph(*(torch.from_numpy(inputs[name]) for name in self.inputs))
        return {name: value.numpy() for name, value in zip(self.outputs, results)}


def sessions(predictor: Predictor) -> Callable[[Path], TorchSession]:
    """In place of `open_session`: the graphs of a model by the names of their files."""
    room, source, model = predictor.room, predictor.source, predictor.model
    files: dict[str, TorchSession] = {}
    if predictor.reads_images:
        end = room.graph_end(source, predictor.task)
        parts, graph = end.parts(), ExportGraph(predictor.preprocess, model, end).eval()
        graph(*graph.example())  # names its outputs
        properties = metadata_of(predictor, parts, graph).properties()
        files["model"] = TorchSession(graph, graph.inputs, graph.outputs, properties)
    else:
        parts = room.text_parts(source, predictor.task)
        properties = metadata_of(predictor, parts).properties()
    for part in parts:
        name = f"model-{part.name}" if part.name else "model"
        files[name] = TorchSession(PartGraph(part, model).eval(), part.inputs, part.outputs, properties)
    return lambda path: files[path.stem]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    return str(write_scenes(scene_splits(ScenesConfig(train=1, val=1, test=4, size=(96, 80))), folder))


def with_masks(num_queries: int, options: Mapping[str, Any]) -> Predictor:
    torch.manual_seed(0)
    sizes = {"masks": True, "num_classes": 10, "encoder_depth": 1, "decoder_depth": 1, "num_queries": num_queries}
    net = saccade.create("detr_small", options=sizes).eval()
    source = LoadedModel(net, "detr", tuple(map(str, range(10))), fresh_preprocessing(net), "detection")
    return predictor_of(source, options=options)


def shake(model: nn.Module) -> None:
    """Change fresh weights, by which all texts would be the same."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)


def captions() -> Predictor:
    predictor = load(GOLDEN / "translate_strips/model")
    shake(predictor.model)
    return predictor


PANOPTIC = {"panoptic": True, "threshold": 0.05}
MODELS: Mapping[str, tuple[Callable[[], Predictor], str, Mapping[str, Any]]] = {
    "texts of images": (captions, "strips", {}),
    "images and texts": (clip, "captions.csv", {}),
    "masks": (lambda: with_masks(6, {}), "", {}),
    # fresh queries have the same mask but for rounding: a pixel would be the one's or the other's
    "segments": (lambda: with_masks(1, PANOPTIC), "", PANOPTIC),
}


@pytest.mark.parametrize("name", MODELS)
def test_metrics_are_those_of_the_model(name: str, scenes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, data, options = MODELS[name]
    predictor = make()
    monkeypatch.setattr(evaluation, "open_session", sessions(predictor))
    path = data if data == "strips" else str(Path(scenes) / data)
    of_file, _ = evaluation.evaluate_exported("model.onnx", path, table.room, workers=0, options=options)
    of_model = evaluate(predictor, path, batch_size=1, workers=0)
    assert of_file.split == of_model.split == "test"
    for tensor, values in of_model.collected.tensors.items():
        torch.testing.assert_close(of_file.collected[tensor], values, atol=1e-3, rtol=1e-4)
    assert of_file.metrics.scalars() == pytest.approx(of_model.metrics.scalars(), abs=1e-4)
    assert any(not torch.equal(values, torch.zeros_like(values)) for values in predictions(of_file.collected.tensors))


def predictions(collected: Mapping[str, Tensor]) -> list[Tensor]:
    """What a model predicts, of all that is collected."""
    return [collected[name] for name in ("generated", "image", "mask_iou", "num_pred_segments") if name in collected]
