"""A graph without image input: the text encoder, or the parts of a model that generates texts."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from saccade.engine.graph_end import GraphPart
from saccade.errors import ConfigError
from saccade.inference.export.parity import ParityRow, difference
from saccade.inference.export.sessions import Session


class PartGraph(nn.Module):
    """``graph(*inputs)`` -> the outputs of a part, in their order.

    Args:
        part: what is computed.
        model: the network, or its rewritten copy.
    """

    def __init__(self, part: GraphPart, model: nn.Module):
        super().__init__()
        self.part, self.model = part, model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        results = self.part.run(self.model, dict(zip(self.part.inputs, inputs)))
        return tuple(results[name] for name in self.part.outputs)


def trace_part(graph: PartGraph) -> torch.export.ExportedProgram:
    """A part for inputs of any length.

    Raises:
        ConfigError: PyTorch cannot trace the model so.
    """
    example = graph.part.trials(graph.model)[-1].inputs  # the largest batch
    names = {name for dims in graph.part.dims.values() for name in dims.values()}
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    shapes = tuple(
        {place: dims[name] for place, name in graph.part.dims[one].items()} or None for one in graph.part.inputs
    )
    with torch.inference_mode(False), torch.no_grad():
        try:
            inputs = tuple(example[name] for name in graph.part.inputs)
            return torch.export.export(graph, inputs, dynamic_shapes=(shapes,), strict=False)
        except (RuntimeError, UserError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"PyTorch cannot trace {graph.part.name} for inputs of any length: {first}") from error


@torch.inference_mode()
def part_rows(part: GraphPart, model: nn.Module, session: Session) -> tuple[ParityRow, ...]:
    """The differences of a file from PyTorch on the part's trials.

    Args:
        part: what the file computes.
        model: the plain network.
        session: the file.
    """
    rows = []
    for trial in part.trials(model):
        expected = part.run(model, trial.inputs)
        actual = session.run({name: value.numpy() for name, value in trial.inputs.items()})
        differences = {name: difference(expected[name].numpy(), actual[name]) for name in part.outputs}
        rows.append(ParityRow(len(next(iter(trial.inputs.values()))), trial.name, differences))
    return tuple(rows)


def merged_vocabulary(vocabulary: Mapping[str, bytes], parts: Sequence[GraphPart]) -> dict[str, bytes]:
    """The files of a tokenizer: the model's, or those that a part reads texts by."""
    return dict(vocabulary) or {name: content for part in parts for name, content in part.vocabulary.items()}
