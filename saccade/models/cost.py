"""What a model costs: parameters, multiply-adds, and the activations that training keeps. Measured, layer by layer.

The model runs once on tensors that have shapes but no numbers, so even the largest takes no memory; every matrix
product and convolution is counted where it happens, the two products of attention included.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from saccade.models.model import Model

aten = torch.ops.aten
FUSED_ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
)


@dataclass(frozen=True)
class LayerCost:
    """One module that computes something itself."""

    name: str  # module path, such as "encoder.blocks.0.attn"
    kind: str  # class name
    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """A model's cost for one image.

    `macs` are multiply-adds of every matrix product and convolution (a FLOP count is twice that); `gmacs` the same in
    thousands of millions. `activation_bytes` is what a float32 training step keeps for the way back, for each image.
    """

    params: int
    macs: int
    activation_bytes: int
    layers: tuple[LayerCost, ...]

    @property
    def gmacs(self) -> float:
        return self.macs / 1e9


def measure_cost(model: Model, image_size: tuple[int, int] | None = None) -> Cost:
    """The cost of one image of (H, W) pixels, the size in the model's config unless given.

    In evaluation mode, so without what dropout would keep. The model's weights, mode and gradients stay as they are.
    """
    height, width = model.config.image_size if image_size is None else image_size
    kept: dict[int, int] = {}  # storage -> bytes, so that what two layers keep of one tensor counts once

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    # Fake tensors of the CPU take the fused attention that a real run takes, so that what it keeps is true as well.
    with torch.enable_grad(), FakeTensorMode(), _where(model) as path, _Counting(path) as counting:
        weights = {name: torch.empty(p.shape, requires_grad=True) for name, p in model.named_parameters()}
        buffers = {name: torch.empty(b.shape, dtype=b.dtype) for name, b in model.named_buffers()}
        image = torch.empty(1, model.config.in_channels, height, width)
        modes = {module: module.training for module in model.modules()}
        try:
            model.eval()  # batch norm in training mode takes no single image
            with saved_tensors_hooks(keep, lambda tensor: tensor):
                torch.func.functional_call(model, {**weights, **buffers}, model.inputs_for(image))
        finally:
            for module, training in modes.items():
                module.training = training

    own_storage = {t.untyped_storage()._cdata for t in (*weights.values(), *buffers.values())}
    activation_bytes = sum(nbytes for storage, nbytes in kept.items() if storage not in own_storage)
    layers = tuple(
        LayerCost(name, type(module).__name__, sum(p.numel() for p in module.parameters(False)), counting.macs[name])
        for name, module in model.named_modules()
        if counting.macs[name] or any(True for _ in module.parameters(False))
    )
    return Cost(sum(p.numel() for p in model.parameters()), counting.macs.total(), activation_bytes, layers)


class _Counting(TorchDispatchMode):
    """Adds up multiply-adds under the module that is running."""

    def __init__(self, path: list[str]):
        super().__init__()
        self.path = path
        self.macs: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        macs = _macs(func.overloadpacket, args, out)
        if macs:
            self.macs[self.path[-1]] += macs
        return out


def _macs(operation: Any, args: tuple, out: Any) -> int:
    if operation is aten.mm:  # [n, k] @ [k, m]
        return out.numel() * args[0].shape[-1]
    if operation is aten.bmm:  # [b, n, k] @ [b, k, m]
        return out.numel() * args[0].shape[-1]
    if operation in (aten.addmm, aten.baddbmm):
        return out.numel() * args[1].shape[-1]
    if operation in FUSED_ATTENTION:  # query [B, H, Q, d], key [B, H, K, d], value [B, H, K, v]
        query, key, value = args[:3]
        return query.numel() * key.shape[-2] + prod(query.shape[:-1]) * key.shape[-2] * value.shape[-1]
    if operation is aten.convolution:  # weight [C', C / groups, *kernel]; transposed ones use each input once
        weight, transposed = args[1], args[6]
        places = args[0].numel() // args[0].shape[1] if transposed else out.numel() // out.shape[1]
        return places * prod(weight.shape)
    return 0


@contextmanager
def _where(model: nn.Module) -> Iterator[list[str]]:
    """The path of the module that is running stands last in the list."""
    path = [""]
    hooks = []
    for name, module in model.named_modules():

        def enter(module: nn.Module, inputs: Any, name: str = name) -> None:
            path.append(name)

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            path.pop()

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield path
    finally:
        for hook in hooks:
            hook.remove()
