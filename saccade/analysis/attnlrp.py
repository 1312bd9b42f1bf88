"""AttnLRP: layer-wise relevance propagation through transformers (Achtibat et al., ICML 2024, arXiv 2402.05602).

The relevance of a class starts as its logit and goes back, layer by layer, to the image. Every rule has the form
R = x * g where g is the gradient, changed at some places, so that one backward pass propagates the relevance:

    linear maps, residuals      ε rule with ε → 0: R_i = Σ_j x_i W_ji R_j / z_j        the gradient as it is
    softmax                     Taylor decomposition: R_i = x_i (R_i - s_i Σ_j R_j)    the gradient as it is
    products: A v, q kᵀ, gates  uniform rule: each factor receives half                half of the gradient
    activations f               identity rule: relevance passes unchanged              f(x) / x instead of f'(x)
    norms                       identity rule                                          the deviation is a constant

Relevance is conserved by residuals, activations, products, and by linear maps and norms without bias. A bias absorbs
its share, and so does the softmax.

h x w grid of patches.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.analysis.gradient_maps import GradientMap, output_reader
from saccade.analysis.inputs import has_attention
from saccade.analysis.outputs import class_score
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, RecordingError
from saccade.models.dpt_decoder import Doubled
from saccade.models.stages import Stages
from saccade.models.zero_shot import UnitLength
from saccade.nn.attention import Attention, attention_weights
from saccade.nn.convolution import ChannelNorm, FrozenBatchNorm2d, StdConv2d
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mlp import QuickGELU, SwiGLU
from saccade.nn.mode import evaluation_mode
from saccade.nn.positions import FixedPositions, FourierPositions, GridPositions, LearnedPositions, RotaryPositions
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import Block, LayerScale, StochasticDepth
from saccade.nn.windows import AxialAttention, LocalAttention

# Modules without parts whose gradient is that of the rule: linear in their input, or ReLU, or a choice of a maximum.
PLAIN = frozenset({
    nn.Linear, nn.Conv2d, StdConv2d, nn.BatchNorm2d, FrozenBatchNorm2d, nn.Identity, nn.Dropout, nn.ReLU, nn.MaxPool2d,
    nn.AvgPool2d, nn.ConvTranspose2d, Doubled, LayerScale, StochasticDepth, Stages, FixedPositions, FourierPositions,
    GridPositions, LearnedPositions, RotaryPositions,
})  # fmt: skip


def halved(x: Tensor) -> Tensor:
    """The same values; half of the gradient goes back. The uniform rule for one factor of a product of two."""
    return x / 2 + (x / 2).detach()


def activation_rule(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The values of ``y = f(x)``, with the gradient of ``x * (f(x) / x)`` where the fraction is a constant."""
    fixed = x.detach()
    ratio = torch.where(fixed == 0, torch.zeros_like(fixed), y.detach() / fixed)
    return _with_gradient(y, x * ratio)


def gate_rule(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """SwiGLU: the rule of its activation, then that of a product."""
    gate, value = x.chunk(2, dim=-1)
    return _with_gradient(y, halved(activation_rule(module, gate, F.silu(gate)) * value))


def layer_norm_rule(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The values of ``y = norm(x)``, with the standard deviation as a constant in the gradient."""
    assert isinstance(module, nn.LayerNorm)
    last = x.permute(0, 2, 3, 1) if isinstance(module, ChannelNorm) else x
    centred = last - last.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + module.eps).sqrt().detach()
    if module.weight is not None:
        scaled = scaled * module.weight
    return _with_gradient(y, scaled.permute(0, 3, 1, 2) if isinstance(module, ChannelNorm) else scaled)


def unit_length_rule(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The values of ``y = x / |x|``, with the length as a constant in the gradient."""
    return _with_gradient(y, x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12).detach())


def group_norm_rule(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The same for a group norm of ``[B, C, h, w]``."""
    assert isinstance(module, nn.GroupNorm)
    groups = x.unflatten(1, (module.num_groups, -1)).flatten(2)
    centred = groups - groups.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + module.eps).sqrt().detach()
    scaled = scaled.view_as(x)
    return _with_gradient(y, scaled if module.weight is None else scaled * module.weight[:, None, None])


RULES: Mapping[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    nn.GELU: activation_rule, nn.SiLU: activation_rule, nn.Tanh: activation_rule, QuickGELU: activation_rule,
    SwiGLU: gate_rule, nn.LayerNorm: layer_norm_rule, ChannelNorm: layer_norm_rule, nn.GroupNorm: group_norm_rule,
    UnitLength: unit_length_rule,
}  # fmt: skip


class _AttentionRules:
    """The uniform rule for both products of an attention: see :class:`saccade.nn.attention.AttentionEdit`."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.thread = threading.get_ident()

    def active(self) -> bool:
        return threading.get_ident() == self.thread

    def inputs(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        if not self.active():
            return q, k, v, mask
        self.mask = mask
        return halved(q), halved(k), halved(v), mask

    def weights(self, q: Tensor, k: Tensor) -> Tensor | None:
        if not self.active():
            return None
        return halved(attention_weights(q.float(), k.float(), self.mask))

    def explicit(self, scores: Tensor) -> Tensor:
        raise AssertionError("attention that computes its own scores has no rule")  # refused before


def has_rules(model: nn.Module) -> bool:
    """Whether every module of a model has a rule."""
    return all(_has_rule(module) for module in model.modules())


def _has_rule(module: nn.Module) -> bool:
    """Containers have one by their parts, and attention by its two products unless it computes its own scores."""
    if isinstance(module, AxialAttention):
        return False
    return any(True for _ in module.children()) or type(module) in PLAIN or type(module) in RULES


@contextmanager
def relevance_rules(model: nn.Module) -> Iterator[None]:
    """Inside the `with`, ``x * gradient`` is the relevance of x by AttnLRP; outputs are those of the model to rounding.
    Passes of other threads have their own gradients.

    Raises:
        ConfigError: a module has no rule.
        RecordingError: an intervention is under way.
    """
    for path, module in model.named_modules():
        if not _has_rule(module):
            raise ConfigError(f"attnlrp has no rule for {path}, a {type(module).__name__}; use the method relevance")
        if isinstance(module, Attention) and module.edit is not None:
            raise RecordingError(f"{path} is being changed by an intervention; end it first")
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, Attention):
                module.edit = _AttentionRules()
                stack.callback(setattr, module, "edit", None)
            elif type(module) in RULES:
                stack.callback(module.register_forward_hook(_apply(RULES[type(module)])).remove)
        yield


def attnlrp_map(
    predictor: Predictor,
    inputs: Tensor,
    target: int | None = None,
    *,
    query: int | None = None,
    point: tuple[float, float] | None = None,
    pixels: bool = False,
) -> GradientMap:
    """Relevance of the patches for one output by AttnLRP; negative values are evidence against the output.

    It is computed at the input of the first block, after the positions are added: before that, the patch embedding
    distributes relevance to single pixels, whose sums are less faithful (docs/decisions.md). For a model without such a
    block, such as a Perceiver, it is the sum over pixels.

    Args:
        predictor: a model with attention over patches: a classifier, a DETR, a DPT.
        inputs: one image ``[1, C, H, W]``, prepared.
        target: number of the class; the best one by default.
        query, point: of a detector or a dense model, see :func:`saccade.analysis.outputs.class_score`.
        pixels: the relevance of every pixel ``[H, W]`` instead of every patch ``[h, w]``.

    Raises:
        ConfigError: there is no such output, or the model has a module without a rule.
        RecordingError: the model has no attention over patches.
    """
    reader = output_reader(predictor)
    layout = reader.token_layout((inputs.shape[-2], inputs.shape[-1]))
    if layout is None or not has_attention(reader):
        on_maps = any(isinstance(module, LocalAttention | AxialAttention) for module in reader.modules())
        instead = "relevance or grad-cam" if on_maps else "grad-cam"
        raise RecordingError(f"this {predictor.source.architecture} has no tokens over an image: use {instead}")
    leaf = inputs.to(predictor.device).requires_grad_()
    tokens: list[Tensor] = []
    thread = threading.get_ident()

    def keep(module: nn.Module, args: Any) -> None:
        if not tokens and threading.get_ident() == thread and args[0].shape[1] == layout.num_tokens:
            tokens.append(args[0])

    with (
        torch.enable_grad(),
        evaluation_mode(predictor.model),
        matmul_precision(predictor.matmul_precision),
        relevance_rules(reader),
        ExitStack() as stack,
    ):
        for module in reader.modules():
            if isinstance(module, Block):
                stack.callback(module.register_forward_pre_hook(keep).remove)
        score, logits = class_score(reader(leaf), target, query, point)
        source = tokens[0] if tokens and not pixels else leaf
        (gradient,) = torch.autograd.grad(score, [source])
    relevance = (source * gradient).detach().float().cpu()[0]
    if source is not leaf:
        return GradientMap(relevance.sum(dim=-1)[layout.num_prefix :].unflatten(0, layout.grid), logits)
    values = relevance.sum(dim=0)  # [H, W]
    return GradientMap(values if pixels else by_patch(values, layout), logits)


def by_patch(values: Tensor, layout: TokenLayout) -> Tensor:
    """The sum over the pixels of each patch: ``[H, W]`` -> ``[h, w]``."""
    (down, across), (rows, columns) = layout.stride, layout.grid
    padded = F.pad(values, (0, columns * across - values.shape[1], 0, rows * down - values.shape[0]))
    return padded.unflatten(1, (columns, across)).unflatten(0, (rows, down)).sum(dim=(1, 3))


def _apply(rule: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    thread = threading.get_ident()
    return lambda module, args, output: rule(module, args[0], output) if threading.get_ident() == thread else output


def _with_gradient(values: Tensor, source: Tensor) -> Tensor:
    """The values of one tensor with the gradient of another of the same shape."""
    return values.detach() + (source - source.detach())
