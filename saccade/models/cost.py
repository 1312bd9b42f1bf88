"""What a model costs: parameters, multiply-adds, and the activations that training keeps for the backward pass.

The model runs once on fake tensors, which have shapes and no numbers, so even the largest takes no memory.
`torch.utils.flop_counter` counts its matrix products, convolutions and attentions.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from saccade.models.model import Model
from saccade.nn.mode import evaluation_mode


@dataclass(frozen=True)
class Cost:
    """A model's cost for one input.

    Attributes:
        params: number of parameters.
        macs: multiply-adds of every matrix product, convolution and attention; FLOPs are twice as many.
        attention_macs: those of `attend`, queries with keys and weights with values, which grow with the square
            of the number of tokens. What an axial attention multiplies is not among them.
        activation_bytes: what a float32 training step keeps for the backward pass, for each input of a batch.
    """

    params: int
    macs: int
    attention_macs: int
    activation_bytes: int

    @property
    def gmacs(self) -> float:
        """Multiply-adds in units of 10⁹."""
        return self.macs / 1e9


def measure_cost(model: Model, image_size: tuple[int, int] | None = None) -> Cost:
    """The cost of one image of (H, W) pixels, the size in the model's config unless given; or of one text.

    In evaluation mode, so without what dropout would keep. The model's weights, mode and gradients stay as they are.
    """
    saved: dict[int, torch.UntypedStorage] = {}  # by address: what two layers save of one tensor counts once

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={fused: _fused_attention_flops})
    inputs = model.example_inputs(1, image_size)
    # Fake tensors of the CPU take the fused attention that a real run takes, so that what it saves is right as well.
    with torch.enable_grad(), FakeTensorMode() as fake:
        weights = {name: torch.empty(p.shape, requires_grad=True) for name, p in model.named_parameters()}
        buffers = {name: torch.empty(b.shape, dtype=b.dtype) for name, b in model.named_buffers()}
        arguments = tuple(fake.from_tensor(tensor) for tensor in inputs)
        # batch norm in training mode takes no single image
        with evaluation_mode(model), counter, saved_tensors_hooks(save, lambda tensor: tensor):
            torch.func.functional_call(model, {**weights, **buffers}, arguments)
    own_storage = {t.untyped_storage()._cdata for t in (*weights.values(), *buffers.values())}
    activation_bytes = sum(s.nbytes() for address, s in saved.items() if address not in own_storage)
    counts = counter.get_flop_counts().get("Global", {})
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        macs=counter.get_total_flops() // 2,
        attention_macs=sum(count for op, count in counts.items() if "scaled_dot_product" in str(op)) // 2,
        activation_bytes=activation_bytes,
    )


def _fused_attention_flops(
    query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, *,
    attn_mask: Any = None, scale: float | None = None, out_shape: Any = None,
) -> int:  # fmt: skip
    """FLOPs of the CPU's fused attention from the shapes of its arguments, which `torch` counts on a GPU only."""
    return sdpa_flop_count(query, key, value)
