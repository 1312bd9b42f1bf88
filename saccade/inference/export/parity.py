"""Whether an exported file computes what PyTorch computes: a table over batches and sizes, and the first layer that
differs where it does not."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from saccade.data.image_formats import image_names
from saccade.data.pictures import read_picture
from saccade.errors import ConfigError, SaccadeError
from saccade.inference.export.graph import ExportGraph
from saccade.inference.export.onnx_file import layer_outputs, with_outputs
from saccade.inference.export.runner import padded_batch
from saccade.inference.export.sessions import OnnxSession, Session

BATCHES = (1, 2, 5)
# (H, W) in pixels: square, wide, and so tall that Pillow resizes rows first.
SIZES: tuple[tuple[int, int], ...] = ((224, 224), (180, 270), (301, 97))
# Of an output's scale. OpenVINO computes the weights of resizing in single precision: a pixel in a hundred thousand is
# one level off, which a DeiT-Ti shows as 2e-4.
TOLERANCE = {"onnx": 1e-4, "torch": 1e-4, "openvino": 5e-4}


class ParityError(SaccadeError):
    """An exported file computes something else than the model, as its `parity` shows."""

    def __init__(self, message: str, parity: "Parity"):
        super().__init__(message)
        self.parity = parity


@dataclass(frozen=True)
class ParityRow:
    """One batch.

    Attributes:
        batch: number of images.
        size: (H, W) in pixels.
        differences: output -> largest difference from PyTorch, as a fraction of the output's scale; of whole numbers
            the fraction that differs.
    """

    batch: int
    size: str
    differences: Mapping[str, float]


@dataclass(frozen=True)
class Parity:
    """The table.

    Attributes:
        rows: a batch each.
        tolerance: largest difference that passes.
    """

    rows: tuple[ParityRow, ...]
    tolerance: float

    @property
    def largest(self) -> float:
        """The largest difference of all; NaN counts as infinite."""
        values = [value for row in self.rows for value in row.differences.values()]
        return max(float("inf") if value != value else value for value in values)

    @property
    def ok(self) -> bool:
        return self.largest <= self.tolerance

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row.differences))
        widths = [max(len(name), 9) for name in names]
        lines = ["  ".join(["batch", f"{'size':>11}", *(f"{n:>{w}}" for n, w in zip(names, widths))])]
        for row in self.rows:
            values = [row.differences.get(name) for name in names]
            cells = [f"{'' if v is None else f'{v:.1e}':>{w}}" for v, w in zip(values, widths)]
            lines.append("  ".join([f"{row.batch:>5}", f"{row.size:>11}", *cells]))
        word = "pass" if self.ok else "FAIL"
        lines.append(
            f"{word}: largest difference from PyTorch {self.largest:.1e} of the scale, at most {self.tolerance:g}"
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        rows = [{"batch": r.batch, "size": r.size, "differences": dict(r.differences)} for r in self.rows]
        return {"ok": self.ok, "tolerance": self.tolerance, "largest": self.largest, "rows": rows}


def real_images(paths: Sequence[Path], channels: int) -> list[Image.Image]:
    """At least five photographs: those of some paths or folders, or parts of the two that scikit-learn brings.

    Raises:
        ImageError: one cannot be read.
        ConfigError: there are none.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    names = image_names(str(file) for file in files) if paths else []
    if paths and not names:
        raise ConfigError(f"there are no images in {', '.join(map(str, paths))}")
    if names:
        pictures = [read_picture(name, channels=channels)[0] for name in names]
        return [pictures[i % len(pictures)] for i in range(max(len(pictures), max(BATCHES)))]
    photographs = [Image.fromarray(photo) for photo in load_sample_images().images]  # 427 x 640 pixels
    parts = [(0, 0, 640, 427), (0, 0, 427, 427), (213, 0, 640, 427)]
    cut = [photo.crop(part) for part in parts for photo in photographs]
    return [picture.convert("L" if channels == 1 else "RGB") for picture in cut]


def check_parity(graph: ExportGraph, session: Session, images: Sequence[Image.Image], tolerance: float) -> Parity:
    """Compare a file with the model on batches of 1, 2 and 5 images in three sizes; of a graph of padded batches also
    on images of all three sizes together.

    The model sees each image alone, prepared by Pillow, as `predict` runs it.

    Args:
        graph: of the plain model.
        session: the file.
        images: photographs; they are resized to the three sizes.
        tolerance: largest difference that passes.
    """
    rows = []
    for size in SIZES:
        pictures = [image.resize((size[1], size[0])) for image in images[: max(BATCHES)]]
        expected = [alone(graph, picture) for picture in pictures]
        for batch in BATCHES:
            actual = session.run(inputs_of(graph, pictures[:batch]))
            rows.append(ParityRow(batch, f"{size[0]} x {size[1]}", compared(expected[:batch], actual)))
    if graph.padded:
        sizes = [SIZES[i % len(SIZES)] for i in range(max(BATCHES))]
        pictures = [image.resize((width, height)) for image, (height, width) in zip(images, sizes)]
        expected = [alone(graph, picture) for picture in pictures]
        rows.append(ParityRow(len(pictures), "mixed", compared(expected, session.run(inputs_of(graph, pictures)))))
    return Parity(tuple(rows), tolerance)


@torch.inference_mode()
def alone(graph: ExportGraph, picture: Image.Image) -> dict[str, Tensor]:
    """The results of PyTorch for one image that Pillow prepares."""
    prepared = graph.preprocessing.preprocessing(picture)[None]
    size = torch.tensor([picture.height, picture.width])
    valid = torch.ones(1, *prepared.shape[-2:], dtype=torch.bool)
    return graph.results(prepared, valid, size[None] if graph.padded else size)


def inputs_of(graph: ExportGraph, pictures: Sequence[Image.Image]) -> dict[str, np.ndarray]:
    """Pictures as the inputs of a file."""
    pixels = [np.asarray(picture) for picture in pictures]
    pixels = [array if array.ndim == 3 else array[..., None] for array in pixels]
    return padded_batch(pixels) if graph.padded else {"images": np.stack(pixels)}


def compared(expected: Sequence[Mapping[str, Tensor]], actual: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Output -> largest difference over the images of a batch."""
    differences = {}
    for name in expected[0]:
        rows = [difference(one[name][0].numpy(), actual[name][i]) for i, one in enumerate(expected)]
        differences[name] = float(max(rows))
    return differences


def difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest difference as a fraction of the largest value; of whole numbers the fraction that differs. A padded
    batch has more rows and columns than one image alone: they do not count."""
    actual = actual[tuple(slice(length) for length in expected.shape)]
    if expected.shape != actual.shape:
        return float("inf")
    if not np.issubdtype(expected.dtype, np.floating):
        return float((expected != actual).mean()) if expected.size else 0.0
    if not expected.size:
        return 0.0
    distance = np.abs(expected.astype(np.float64) - actual).max()
    return float(distance / max(np.abs(expected).max(), 1e-6)) if np.isfinite(distance) else float("inf")


@torch.inference_mode()
def first_difference(graph: ExportGraph, path: Path, picture: Image.Image, tolerance: float) -> str:
    """The path of the first module whose output in a file of ONNX differs from PyTorch's, with both in a sentence."""
    inputs = inputs_of(graph, [picture])
    values = layer_outputs(path)
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str):
        def hook(module: nn.Module, arguments: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor):
                outputs[name] = first.numpy()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in graph.named_modules() if name in values]
    try:
        graph(*(torch.from_numpy(value) for value in inputs.values()))
    finally:
        for hook in hooks:
            hook.remove()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        with_outputs(path, [values[name] for name in outputs], copy)
        actual = OnnxSession(copy).run(inputs)
    for name in values:  # in the order of the graph
        if name in outputs and outputs[name].shape == actual[values[name]].shape:
            distance = difference(outputs[name], actual[values[name]])
            if distance > tolerance:
                return f"the first layer that differs is {name}, by {distance:.1e} of its scale"
    return "no layer differs by itself: the difference is in the results that are computed from the last one"
