"""Models on the meta device, to count their parameters before memory is allocated for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RANDOM: dict[Callable, Callable] = {torch.randn: torch.empty, torch.rand: torch.empty}
IN_PLACE = {Tensor.normal_, Tensor.uniform_, *filter(callable, vars(nn.init).values())}


class _Uninitialised(TorchFunctionMode):
    """Skips the functions that draw values. On the meta device they draw none but import PyTorch's compiler, which
    takes as long as importing PyTorch itself."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in IN_PLACE:
            return args[0] if args else (kwargs or {})["tensor"]
        return RANDOM.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def without_values() -> Iterator[None]:
    """Modules that are built inside the `with` block have parameters on the meta device."""
    with torch.device("meta"), _Uninitialised():
        yield
