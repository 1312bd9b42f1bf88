"""A model with its preprocessing and its task's end as one module that takes images of 8 bits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from saccade.data.preprocessing import Preprocessing
from saccade.engine.graph_end import GraphEnd
from saccade.errors import ConfigError
from saccade.inference.export.preprocess import GraphPreprocessing
from saccade.nn.attention import Attention, attention_weights

EXAMPLE = (2, 70, 90)  # images, rows and columns of the example that is traced; any others run


class WeightsTap:
    """Keeps the weights of one attention while a graph is traced."""

    def __init__(self) -> None:
        self.weights: Tensor | None = None

    def fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
        self.weights = attention_weights(q, k, mask)
        return out

    def explicit(self, weights: Tensor) -> Tensor:
        self.weights = weights
        return weights

    def needs_rest(self, count: int) -> tuple[bool, bool]:
        return True, False


class ExportGraph(nn.Module):
    """``graph(images)`` -> the results of the task, in the order of :attr:`outputs`.

    Args:
        preprocessing: of the model.
        model: the network, or its rewritten copy.
        end: of its task.
        attention: paths of attentions whose weights are returned too.

    Attributes:
        outputs: names of the results.
        attention_outputs: name of an output -> path of the attention whose weights ``[B, H, Q, K]`` it has.
    """

    def __init__(self, preprocessing: Preprocessing, model: nn.Module, end: GraphEnd, attention: Sequence[str] = ()):
        super().__init__()
        self.preprocessing = GraphPreprocessing(preprocessing)
        self.model = model
        self.end = end
        self.padded = end.padded
        self.attention_outputs = {f"attention_{path.replace('.', '_')}": path for path in attention}
        self.outputs: tuple[str, ...] = ()

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        """The results.

        Args:
            images: ``[B, H, W, C]`` uint8.
            sizes: ``[B, 2]`` int64, (H, W) of each image; for a graph of padded batches alone.
        """
        prepared = self.preprocessing(images, sizes)
        shape = torch.tensor([images.shape[1], images.shape[2]]) if sizes is None else sizes
        results = self.results(prepared.images, prepared.valid, shape)
        self.outputs = tuple(results)
        return tuple(results.values())

    def results(self, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """The results by name; arguments as for :meth:`GraphEnd.run`."""
        with self._taps() as taps:
            results = self.end.run(self.model, images, valid, sizes)
        for (name, path), tap in zip(self.attention_outputs.items(), taps):
            if tap.weights is None:
                raise ConfigError(f"the attention {path} did not run, so that its weights cannot be exported")
            results[name] = tap.weights
        return results

    @contextmanager
    def _taps(self) -> Iterator[list[WeightsTap]]:
        modules = [self.model.get_submodule(path) for path in self.attention_outputs.values()]
        taps = [WeightsTap() for _ in modules]
        try:
            for module, tap in zip(modules, taps):
                assert isinstance(module, Attention)
                module.tap = tap
            yield taps
        finally:
            for module in modules:
                module.tap = None  # type: ignore[assignment]

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        batch, height, width = EXAMPLE
        generator = torch.Generator().manual_seed(0)
        shape = (batch, height, width, self.preprocessing.preprocessing.channels)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return (images, torch.tensor([[height, width], [height - 20, width - 30]])) if self.padded else (images,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return ("images", "sizes") if self.padded else ("images",)


def attention_paths(model: nn.Module, layers: Sequence[int]) -> list[str]:
    """The paths of a model's attentions with these numbers, in the order of the modules; -1 is the last.

    Raises:
        ConfigError: there is no such attention.
    """
    paths = [path for path, module in model.named_modules() if isinstance(module, Attention)]
    for layer in layers:
        if not -len(paths) <= layer < len(paths):
            have = f"has {len(paths)}, from 0" if paths else "has none"
            raise ConfigError(f"there is no attention {layer}: the model {have}")
    return [paths[layer] for layer in layers]


def trace_graph(graph: ExportGraph) -> torch.export.ExportedProgram:
    """The graph of any number of images of any size.

    Raises:
        ConfigError: PyTorch cannot trace the model so.
    """
    dim = torch.export.Dim
    shapes: dict[str, dict[int, object]] = {"images": {0: dim("batch"), 1: dim("height"), 2: dim("width")}}
    if graph.padded:
        shapes["sizes"] = {0: shapes["images"][0]}
    example = graph.example()
    with torch.inference_mode(False), torch.no_grad():
        graph(*example)
        try:
            return torch.export.export(graph, example, dynamic_shapes={**shapes}, strict=False)
        except (RuntimeError, UserError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"PyTorch cannot trace this model for images of any size: {first}") from error
