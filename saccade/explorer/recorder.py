"""`saccade.record`: a recording whose trace has the explorer as its view."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from saccade.deferred import Deferred
from saccade.nn import recording
from saccade.nn.passes import Selection
from saccade.nn.trace import Trace

notebook = Deferred("saccade.explorer.notebook")  # what makes pages loads torchvision


def record(
    model: nn.Module,
    layers: Selection | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
    *,
    budget: str | int = "4 GiB",
    tokens: bool = True,
    grad: bool = True,
    verify: bool = False,
) -> AbstractContextManager[Trace]:
    """Record attention weights and token activations of a model inside the `with`: :func:`saccade.nn.recording.record`
    with a view. ``trace.show()`` is the page of the last pass over images, as of :func:`saccade.show`.

    Args:
        model: any module that contains :class:`~saccade.nn.attention.Attention`.
        layers: which attentions, as indices (-1 is the last) or paths with wildcards (``"*.cross_attn"``); all by
            default.
        heads, queries: indices; all by default. Others have no view.
        budget: refuse to record more, ``"500 MB"``, ``"4 GiB"`` or a number of bytes.
        tokens: whether to keep the blocks' outputs.
        grad: whether the output depends on the recorded tensors in the graph of autograd, where autograd is on.
        verify: also measure the distance of ``weights @ v`` from the fused output, in ``trace.errors``.

    Raises:
        RecordingError: no such layer, a recording inside a recording, or more bytes than the budget.
    """
    return recording.record(
        model, layers, heads, queries, budget=budget, tokens=tokens, grad=grad, verify=verify, viewer=_page
    )


def _page(trace: Trace, model: nn.Module, images: Tensor, *, names: Sequence[str] | None = None) -> Any:
    return notebook.show(trace, model, images, names=names)
