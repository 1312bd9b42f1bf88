"""Exported files as functions of arrays, by ONNX Runtime or OpenVINO. Loads no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from saccade.deferred import Deferred
from saccade.errors import CheckpointError, ConfigError
from saccade.json_io import parse_json

onnxruntime, openvino = Deferred("onnxruntime"), Deferred("openvino")
OPENVINO_KEY = "saccade"  # under which a file has its properties, as JSON
EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino", "nncf": "nncf"}


class Session(Protocol):
    """A graph that is ready to run."""

    @property
    def properties(self) -> Mapping[str, str]:
        """Texts that travel in the file."""
        ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Named outputs for named inputs."""
        ...


class OnnxSession:
    """A file of ONNX in ONNX Runtime on the CPU.

    Args:
        path: of the ``.onnx`` file.
        threads: of one operation; those of the machine by default.
    """

    def __init__(self, path: Path, threads: int | None = None):
        require("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        errors = onnxruntime.capi.onnxruntime_pybind11_state
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except (
            errors.Fail,
            errors.InvalidProtobuf,
            errors.InvalidGraph,
            errors.InvalidArgument,
            errors.NoSuchFile,
        ) as error:
            raise CheckpointError(f"ONNX Runtime cannot open {path}: {str(error).splitlines()[0]}") from None
        self.properties: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs))))


class OpenVinoSession:
    """A file of OpenVINO on the CPU.

    Args:
        path: of the ``.xml`` file; its weights are next to it in ``.bin``.
        threads: of one inference; those of the machine by default.
    """

    def __init__(self, path: Path, threads: int | None = None):
        require("openvino")
        try:
            model = openvino.Core().read_model(path)
        except RuntimeError as error:
            raise CheckpointError(f"OpenVINO cannot open {path}: {str(error).splitlines()[-1]}") from None
        info = model.get_rt_info([OPENVINO_KEY]).astype(str) if model.has_rt_info([OPENVINO_KEY]) else "{}"
        self.properties: Mapping[str, str] = parse_json(info, str(path), CheckpointError)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._model = openvino.compile_model(model, "CPU", settings)
        self._names: Sequence[str] = [output.get_any_name() for output in self._model.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._model(dict(inputs))
        return {name: results[name] for name in self._names}


def require(library: str) -> None:
    """Raise ConfigError, with the extra to install, where a library is missing."""
    try:
        getattr(Deferred(library), "__version__")  # noqa: B009
    except ImportError:
        raise ConfigError(f"{library} is not installed: pip install 'saccade[{EXTRAS[library]}]'") from None


def open_session(path: Path, threads: int | None = None) -> Session:
    """An exported file, ready to run.

    Raises:
        CheckpointError: the file cannot be read.
        ConfigError: its runtime is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if path.suffix == ".onnx":
        return OnnxSession(path, threads)
    if path.suffix == ".xml":
        return OpenVinoSession(path, threads)
    raise ConfigError(f"{path}: a program of torch.export is loaded with torch.export.load; .onnx and .xml run here")
