"""The trace of a recording, and its size in bytes."""

import math
import re
import weakref
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from saccade.errors import RecordingError
from saccade.nn.tokens import TokenLayout


class Viewer(Protocol):
    """Makes the view of a trace; the public :func:`saccade.record` brings that of the explorer."""

    def __call__(
        self, trace: "Trace", model: nn.Module, images: Tensor, *, names: Sequence[str] | None = None
    ) -> Any: ...


class PassView:
    """The view of the last pass, with what it needs besides the trace: the images, without a copy, and the model.

    The reference to the model is weak, so that a trace outlives its model without keeping its weights in memory.
    """

    def __init__(self, viewer: Viewer, model: nn.Module, images: Tensor):
        self.viewer, self.model, self.images = viewer, weakref.ref(model), images.detach()

    def __call__(self, trace: "Trace", names: Sequence[str] | None) -> Any:
        model = self.model()
        if model is None:
            raise RecordingError("the model of this trace no longer exists; use saccade.show(trace, model, images)")
        return self.viewer(trace, model, self.images, names=names)


@dataclass(repr=False)
class Trace:
    """Recorded tensors of the last forward pass through the model, by a call or by a method such as ``embed``.

    Attributes:
        attention: module path -> weights ``[B, heads, queries, keys]`` float32, for the chosen layers, heads and
            queries; rows sum to 1. A module that ran more than once has ``path``, ``path:1``, ``path:2`` …
        tokens: block path -> its output ``[B, N, D]``, for the chosen layers.
        layout: how the tokens are arranged over the image, if the model provides it.
        nbytes: size of the recording in bytes.
        errors: module path -> max |weights @ v - fused output|, with ``record(verify=True)``.
        view: of the last pass, see :meth:`show`; not pickled.
    """

    attention: dict[str, Tensor] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    layout: TokenLayout | None = None
    nbytes: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    view: PassView | None = field(default=None, compare=False)

    def show(self, names: Sequence[str] | None = None) -> Any:
        """The interactive view of the last pass over images, which a notebook displays and ``.save(path)`` writes.

        Args:
            names: of the images; their numbers by default.

        Raises:
            ConfigError: there are not as many names as images.
            RecordingError: the recording has no view (it is not of :func:`saccade.record`, not of all heads and
                queries, or of a pass without images), its model no longer exists, or no attention has image positions.
        """
        if self.view is None:
            raise RecordingError(
                "this trace has no view: it needs saccade.record of all heads and queries, and a pass over images; of "
                "texts there is saccade.show_texts(predictor, texts)"
            )
        return self.view(self, names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "view": None}

    def __repr__(self) -> str:
        """Paths and shapes, not the numbers."""
        tensors = [*self.attention.items(), *self.tokens.items()]
        lines = [f"{path}: {list(x.shape)}" for path, x in tensors]
        if len(lines) > 8:
            lines = [*lines[:4], f"… {len(lines) - 8} more", *lines[-4:]]
        title = f"Trace({len(self.attention)} attentions, {len(self.tokens)} blocks, {format_bytes(self.nbytes)})"
        return "\n  ".join([title, *lines])

    def clear(self) -> None:
        self.attention.clear()
        self.tokens.clear()
        self.errors.clear()
        self.nbytes, self.view = 0, None


class TraceStore:
    """The trace of one recording, and its size in bytes.

    Args:
        budget: maximum size in bytes.
        paths: module paths of everything that will be recorded, to estimate the total from the first tensors.
    """

    def __init__(self, budget: int, paths: Sequence[str]):
        self.trace = Trace()
        self.budget, self.paths = budget, paths
        self.sizes: dict[str, tuple[list[int], int]] = {}  # path -> shape, bytes

    def clear(self) -> None:
        self.trace.clear()
        self.sizes.clear()

    def reserve(self, path: str, shape: Sequence[int], bytes_each: int) -> None:
        """Reserve space for a tensor before it is stored.

        Raises:
            RecordingError: it does not fit in the budget.
        """
        nbytes = bytes_each * math.prod(shape)
        self.sizes[unused_name(path, self.sizes)] = list(shape), nbytes
        self.trace.nbytes += nbytes
        if self.trace.nbytes <= self.budget:
            return
        rest = [p for p in self.paths if p not in self.sizes]
        total = self.trace.nbytes + nbytes * len(rest)  # as if the rest were like this one
        largest = sorted(self.sizes.items(), key=lambda item: -item[1][1])[:3]
        listing = ", ".join(f"{path} {shape} {format_bytes(nbytes)}" for path, (shape, nbytes) in largest)
        count = len(self.sizes) + len(rest)
        self.clear()
        raise RecordingError(
            f"this recording needs about {format_bytes(total)} for {count} tensors, the budget is "
            f"{format_bytes(self.budget)}. The largest so far: {listing}. Choose layers, heads or queries, leave out "
            "the tokens (tokens=False), or raise the budget"
        )


def unused_name(path: str, names: Container[str]) -> str:
    """``path``, or ``path:1``, ``path:2`` … where a module runs more than once in a pass."""
    name, run = path, 0
    while name in names:
        run += 1
        name = f"{path}:{run}"
    return name


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_bytes(size: str | int) -> int:
    """``"4 GiB"``, ``"500 MB"`` or a number of bytes -> bytes."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", size)
    if match is None or match[2].lower() not in _UNITS:
        raise RecordingError(f"{size!r} is no size; write for instance '500 MB' or '4 GiB'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def format_bytes(nbytes: int) -> str:
    """Bytes as text in decimal units: ``9.7 GB``."""
    size, unit = float(nbytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
