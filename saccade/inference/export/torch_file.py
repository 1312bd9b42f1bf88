"""A traced graph as a program of torch.export, and such a program as a function of arrays."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from saccade.inference.export.metadata import Metadata


def write_program(program: torch.export.ExportedProgram, metadata: Metadata, path: Path) -> None:
    """Write a program that ``torch.export.load(path).module()`` runs; the metadata are in its ``extra_files``."""
    torch.export.save(program, path, extra_files=metadata.properties())


class ProgramSession:
    """A program of torch.export.

    Args:
        path: of the ``.pt2`` file.
        outputs: names of what it returns, in order.
    """

    def __init__(self, path: Path, outputs: tuple[str, ...]):
        self.properties: Mapping[str, str] = {}
        self._program = torch.export.load(path).module()
        self._outputs = outputs

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._program(*(torch.from_numpy(value) for value in inputs.values()))
        return {name: value.numpy() for name, value in zip(self._outputs, results)}
