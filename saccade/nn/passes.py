"""Code shared by recordings and interventions: layers by index or path, and where a forward pass through a model
begins."""

import fnmatch
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from saccade.errors import RecordingError
from saccade.nn.transformer import Block

Selection = Sequence[int | str]
ModuleKind = TypeVar("ModuleKind", bound=nn.Module)


class Unrecordable:
    """Mixin of modules inside which attention cannot be recorded or changed; ``hidden`` is the reason, for messages."""

    hidden: str


def choose_layers(
    model: nn.Module, kind: type[ModuleKind], name: str, layers: Selection | None = None
) -> dict[str, ModuleKind]:
    """Choose modules: path -> module, in the order of the model's modules.

    Args:
        model: the network.
        kind: class of the modules.
        name: name of the kind, for messages.
        layers: indices in the order of the modules (-1 is the last), or paths with wildcards; all by default.

    Raises:
        RecordingError: the model has no such modules, none of them matches a layer, or the model was optimised for
            speed.
    """
    modules = {}
    for path, module in model.named_modules():
        if isinstance(module, Unrecordable):
            raise RecordingError(
                f"this model is optimised, and {module.hidden} ({path or 'the whole model'}): record the plain model"
            )
        if isinstance(module, kind):
            modules[path] = module
    if not modules:
        raise RecordingError(f"{type(model).__name__} has no {name} to record")
    if layers is None:
        return modules
    names, selection = list(modules), set()
    for layer in layers:
        if isinstance(layer, int):
            if not -len(names) <= layer < len(names):
                raise RecordingError(f"there is no {name} {layer}: they are 0 to {len(names) - 1}")
            matches = [names[layer]]
        else:
            matches = fnmatch.filter(names, layer)
        if not matches:
            raise RecordingError(f"no {name} matches {layer!r}; there are {', '.join(names)}")
        selection.update(matches)
    return {path: module for path, module in modules.items() if path in selection}


def eager_execution() -> AbstractContextManager:
    """Disable the compiler while hooks are attached to a model: compiled code would outlive them."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextmanager
def on_pass(model: nn.Module, begin: Callable[[Tensor | None], Tensor | None]) -> Iterator[None]:
    """Call a function whenever the current thread begins a forward pass through a model.

    Args:
        model: the network, or the result of ``torch.compile``.
        begin: receives the images ``[B, C, H, W]`` of the pass, None for a call without images; its return value
            replaces the images, None leaves them unchanged.
    """
    inner = getattr(model, "_orig_mod", model)
    passes = _Passes(inner, begin)
    with ExitStack() as stack:
        for module in {id(m): m for m in (model, *_outside_blocks(inner))}.values():
            stack.callback(module.register_forward_pre_hook(passes.enter, prepend=True, with_kwargs=True).remove)
            if module is model or module is inner:
                stack.callback(module.register_forward_hook(passes.leave, always_call=True).remove)
        yield


def _outside_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """A module and its descendants, except those inside transformer blocks, which receive no images: a hook on each of
    their parts would cost more than recording a small model."""
    yield model
    for child in model.children():
        if not isinstance(child, Block):
            yield from _outside_blocks(child)


class _Passes:
    """A pass begins at a call of the model, or, where a method such as ``embed`` calls parts of it, at the first part
    that receives images."""

    def __init__(self, model: nn.Module, begin: Callable[[Tensor | None], Tensor | None]):
        self.model, self.begin = model, begin
        self.thread = threading.get_ident()
        self.calls = 0  # of the model, that have not returned
        self.first: nn.Module | None = None  # part that received the images of a pass without such a call

    def enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Called before the forward pass of the model and of each of its parts.

        Another thread may call it while the hook is being attached or removed; PyTorch then passes no `kwargs`.
        """
        if threading.get_ident() != self.thread or kwargs is None:
            return None
        images = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.ndim == 4), None)
        replacement = None
        if module is self.model or getattr(module, "_orig_mod", None) is self.model:
            if self.calls == 0:
                self.first = None
                replacement = self.begin(images)
            self.calls += 1
        elif self.calls == 0 and images is not None and self.first in (None, module):
            self.first = module
            replacement = self.begin(images)
        if replacement is None:
            return None
        args = tuple(replacement if x is images else x for x in args)
        return args, {name: replacement if x is images else x for name, x in kwargs.items()}

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        """Called after the forward pass of the model, even if it failed."""
        if threading.get_ident() == self.thread:
            self.calls -= 1
