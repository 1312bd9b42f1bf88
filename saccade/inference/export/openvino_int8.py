"""A file of OpenVINO in 8 bits: NNCF measures the ranges of activations on calibration images (post-training
quantisation).

Weights have 7 bits of the 8, whose sums do not overflow on processors without VNNI.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from saccade.deferred import Deferred
from saccade.inference.export.metadata import Metadata
from saccade.inference.export.openvino_file import save_openvino
from saccade.inference.export.sessions import require

nncf, openvino = Deferred("nncf"), Deferred("openvino")


def write_openvino_int8(
    onnx_path: Path,
    metadata: Metadata,
    path: Path,
    inputs: Sequence[Mapping[str, np.ndarray]],
    excluded: Sequence[str],
    transformer: bool,
) -> None:
    """Convert a file of ONNX and quantise it.

    Args:
        onnx_path: of the file in single precision.
        metadata: that travels in the new file.
        path: of the ``.xml`` file.
        inputs: of the graph, one for each calibration image.
        excluded: names of nodes that stay in single precision.
        transformer: whether the model has attention, whose scores and activations NNCF then treats apart.

    Raises:
        ConfigError: OpenVINO or NNCF is not installed.
    """
    require("openvino")
    require("nncf")
    nncf.set_log_level(logging.ERROR)
    model = openvino.convert_model(str(onnx_path))
    names = {operation.get_friendly_name() for operation in model.get_ops()}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # progress bars
        model = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=sorted(names & set(excluded))),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.quantization.advanced_parameters.OverflowFix.ENABLE
            ),
        )
    save_openvino(model, metadata, path)
