"""Interventions: switch off parts of a model and measure the effect. The counterpart of :func:`saccade.record`.

    with saccade.intervene(model, heads={-1: [0, 2]}):                  # two heads of the last layer switched off
        logits = model(images)
    with saccade.intervene(model, tokens=[layout.index(3, 4)]):         # as if the patch were absent
        logits = model(images)

An intervention acts only on the specified modules; without one, outputs are bitwise unchanged. It can be combined with
a recording, which then contains the weights of the changed run. Other threads run the unchanged model.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from saccade.errors import InterventionError
from saccade.models.bert import Bert
from saccade.models.detr import DETR
from saccade.models.image_to_text import ImageToText
from saccade.models.perceiver import Perceiver
from saccade.models.perceiver_text import PerceiverText
from saccade.models.seq2seq import Seq2Seq
from saccade.models.vit_encoder import ViTEncoder
from saccade.nn.attention import Attention
from saccade.nn.passes import ModuleKind, Selection, choose_layers, eager_execution, on_pass
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import Block

Fill = Literal["drop", "zero", "mean", "blur"]


@contextmanager
def intervene(
    model: nn.Module,
    *,
    heads: Mapping[int | str, Sequence[int]] | None = None,
    blocks: Selection = (),
    tokens: Sequence[int] | Tensor | None = None,
    fill: Fill = "drop",
    attention: Tensor | None = None,
    temperature: float = 1.0,
    layers: Selection | None = None,
    patch: Mapping[str, Tensor] | None = None,
) -> Iterator[None]:
    """Change the computation of a model inside the `with` block.

    Args:
        model: any model of this package; one under ``torch.compile`` runs eagerly meanwhile.
        heads: heads to switch off, by layer: an index in the order of the attentions (-1 is the last) or a path with
            wildcards. The output of such a head is zero.
        blocks: transformer blocks to switch off, in the same way: their input is their output.
        tokens: patches to hide: token indices, as :meth:`TokenLayout.index` gives them, or a boolean map ``[h, w]`` or
            ``[B, h, w]``, True where hidden. Of a model of texts, indices of the tokens that it reads.
        fill: treatment of hidden patches. ``"drop"``: no token attends to them, and no mean over the patches includes
            them, as if they were absent. Otherwise their pixels are replaced: ``"zero"`` by 0 after normalisation (the
            mean colour of the training data), ``"mean"`` by the mean colour of the image, ``"blur"`` by the image
            blurred with the standard deviation of a patch's side.
        attention: attention mask in `layers`: boolean, True where it may, or a bias that is added to the
            scores; broadcastable to ``[B, heads, Q, K]``.
        temperature: divides the scores of attention in `layers`: above 1 flatter, below 1 sharper.
        layers: where `attention` and `temperature` act; everywhere by default.
        patch: activations of another run, as in a recording: path of a block -> its output ``[B, N, D]``, path
            of an attention -> its weights ``[B, heads, Q, K]``.

    Raises:
        InterventionError: a part does not exist or cannot be changed in this model, or another intervention is active
            on it.
        RecordingError: no such layer.
    """
    inner = getattr(model, "_orig_mod", model)
    if not temperature > 0:
        raise InterventionError(f"the temperature must be positive, not {temperature:g}")
    edits = {path: _AttentionEdit(path) for path, _ in _modules(inner, Attention)}
    block_edits: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    for layer, indices in (heads or {}).items():
        for path in choose_layers(inner, Attention, "attention", [layer]):
            edits[path].heads.extend(indices)
    if attention is not None or temperature != 1.0:
        for path in choose_layers(inner, Attention, "attention", layers):
            edits[path].mask, edits[path].temperature = attention, temperature
    if blocks:
        block_edits |= dict.fromkeys(choose_layers(inner, Block, "block", blocks), lambda x, out: x)
    for path, activation in (patch or {}).items():
        if path in edits:
            edits[path].replacement = activation
        elif path in dict(_modules(inner, Block)):
            block_edits[path] = _replaced(path, activation)
        else:
            raise InterventionError(f"{path!r} is neither a block nor an attention of this {type(inner).__name__}")
    with ExitStack() as stack:
        if tokens is not None:
            if isinstance(inner, Seq2Seq | Bert | PerceiverText):
                _hide_words(tokens, fill, inner, edits)
            else:
                stack.enter_context(_hidden(model, inner, tokens, fill, edits))
        for path, edit in edits.items():
            if edit.changes_something:
                _attach(stack, path, inner.get_submodule(path), edit)
        for path, edit in block_edits.items():
            _attach(stack, path, inner.get_submodule(path), _BlockEdit(edit))
        stack.enter_context(eager_execution())
        yield


def _modules(model: nn.Module, kind: type[ModuleKind]) -> list[tuple[str, ModuleKind]]:
    return [(path, module) for path, module in model.named_modules() if isinstance(module, kind)]


def _attach(stack: ExitStack, path: str, module: nn.Module, edit: Any) -> None:
    if module.edit is not None:
        raise InterventionError(f"{path} is being changed already; end that intervention first")
    module.edit = edit
    stack.callback(setattr, module, "edit", None)


class _BlockEdit:
    """What is changed of one block, see :class:`saccade.nn.transformer.BlockEdit`."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]):
        self.change = change
        self.thread = threading.get_ident()

    def active(self) -> bool:
        return threading.get_ident() == self.thread

    def output(self, x: Tensor, out: Tensor) -> Tensor:
        return self.change(x, out) if self.active() else out


def _replaced(path: str, activation: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def replace(x: Tensor, out: Tensor) -> Tensor:
        _require_shape(path, activation, out.shape)
        return activation.to(out).expand(out.shape)

    return replace


def _require_shape(path: str, activation: Tensor, shape: torch.Size) -> None:
    if activation.shape[1:] != shape[1:] or activation.shape[0] not in (1, shape[0]):
        raise InterventionError(
            f"{path}: the activations are {list(activation.shape)}, but this run has {list(shape)}: record them with "
            "images of the same size, all heads and all queries"
        )


class _AttentionEdit:
    """What is changed in one attention, see :class:`saccade.nn.attention.AttentionEdit`."""

    def __init__(self, path: str):
        self.path = path
        self.thread = threading.get_ident()
        self.heads: list[int] = []
        self.mask: Tensor | None = None
        self.temperature = 1.0
        self.replacement: Tensor | None = None
        self.hidden_keys: Callable[[int], Tensor | None] | None = None  # K -> [B or 1, 1, 1, K], True hides

    @property
    def changes_something(self) -> bool:
        changed = self.mask is not None or self.replacement is not None or self.hidden_keys is not None
        return bool(self.heads) or self.temperature != 1.0 or changed

    def active(self) -> bool:
        return threading.get_ident() == self.thread

    def inputs(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        if not self.active():
            return q, k, v, mask
        if self.temperature != 1.0:
            q = q / self.temperature
        if self.mask is not None:
            mask = _both(mask, self._mask(q.shape[1], q.shape[2], k.shape[2], q.device))
        hidden = None if self.hidden_keys is None else self.hidden_keys(k.shape[2])
        if hidden is not None:
            mask = _both(mask, ~hidden.to(q.device))
        return q, k, self._switched_off(v, axis=1), mask

    def weights(self, q: Tensor, k: Tensor) -> Tensor | None:
        if self.replacement is None or not self.active():
            return None
        shape = torch.Size([*q.shape[:3], k.shape[2]])
        _require_shape(self.path, self.replacement, shape)
        return self.replacement.to(q).expand(shape)

    def explicit(self, scores: Tensor) -> Tensor:
        if not self.active():
            return scores.softmax(dim=-1)
        if self.replacement is not None:
            _require_shape(self.path, self.replacement, scores.shape)
            return self._switched_off(self.replacement.to(scores).expand(scores.shape), axis=1)
        scores = scores / self.temperature
        if self.mask is not None:
            mask = self._mask(scores.shape[1], scores.shape[2], scores.shape[3], scores.device)
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return self._switched_off(scores.softmax(dim=-1).nan_to_num(), axis=1)

    def _switched_off(self, x: Tensor, axis: int) -> Tensor:
        if not self.heads:
            return x
        for head in self.heads:
            if not -x.shape[axis] <= head < x.shape[axis]:
                raise InterventionError(f"{self.path}: there is no head {head}: they are 0 to {x.shape[axis] - 1}")
        index = torch.tensor([head % x.shape[axis] for head in self.heads], device=x.device)
        return x.index_fill(axis, index, 0.0)

    def _mask(self, heads: int, queries: int, keys: int, device: torch.device) -> Tensor:
        assert self.mask is not None
        shape = (heads, queries, keys)
        for length, size in zip(reversed(self.mask.shape[-3:]), reversed(shape)):
            if length not in (1, size):
                raise InterventionError(
                    f"{self.path}: a mask {list(self.mask.shape)} does not fit [B, {heads}, {queries}, {keys}]"
                )
        return self.mask.to(device)


def _both(mask: Tensor | None, other: Tensor) -> Tensor:
    """A query may see a key where both masks allow it; biases add up."""
    if mask is None:
        return other
    if mask.dtype == other.dtype == torch.bool:
        return mask & other
    biases = [
        torch.zeros(m.shape, device=m.device).masked_fill(~m, -torch.inf) if m.dtype == torch.bool else m
        for m in (mask, other)
    ]
    return biases[0] + biases[1]


@contextmanager
def _hidden(
    model: nn.Module, inner: nn.Module, tokens: Sequence[int] | Tensor, fill: Fill, edits: Mapping[str, _AttentionEdit]
) -> Iterator[None]:
    """Hide patches in every pass of the model."""
    name, layout_of = type(inner).__name__, getattr(inner, "token_layout", None)
    if layout_of is None or layout_of() is None:
        raise InterventionError(f"{name} has no tokens of image patches: nothing to hide")
    encoders = _modules(inner, ViTEncoder)
    readers = isinstance(inner, DETR | ImageToText | Perceiver)
    if fill == "drop" and not encoders and not readers:
        raise InterventionError(f"{name} cannot leave tokens out: choose fill='zero', 'mean' or 'blur'")
    place: dict[str, Tensor] = {}  # the map of the pass that is running

    def begin(images: Tensor | None) -> Tensor | None:
        place.clear()
        if images is None:
            return None
        layout = layout_of((images.shape[-2], images.shape[-1]))
        hidden = hidden_map(tokens, layout).to(images.device)
        if hidden.shape[0] not in (1, images.shape[0]):
            raise InterventionError(f"maps for {hidden.shape[0]} images, but the batch has {images.shape[0]}")
        place["map"] = hidden
        return None if fill == "drop" else _filled(images, hidden, layout, fill)

    def keys(count: int) -> Tensor | None:
        hidden = place.get("map")
        if hidden is None or count != hidden[0].numel():
            return None
        return hidden.flatten(1)[:, None, None, :]

    def encode(encoder: ViTEncoder, args: tuple, kwargs: dict) -> tuple | None:
        if threading.get_ident() != thread or "map" not in place:
            return None
        images, valid = args[0], kwargs.get("valid")
        visible = ~_pixels(place["map"], encoder.config.patch_size, (images.shape[-2], images.shape[-1]))
        visible = visible.expand(images.shape[0], -1, -1)
        return args, {**kwargs, "valid": visible if valid is None else valid & visible}

    def refuse(block: nn.Module, args: tuple) -> None:
        if threading.get_ident() == thread and "map" in place and not running:
            raise InterventionError(
                f"this pass of {name} chooses its patches itself: hide them with fill='zero', 'mean' or 'blur', or use "
                "embed"
            )

    def enter(encoder: nn.Module, args: tuple) -> None:
        running.append(encoder)

    def leave(encoder: nn.Module, args: tuple, output: object) -> None:
        running.pop()

    thread, running = threading.get_ident(), list[nn.Module]()
    with ExitStack() as stack:
        stack.enter_context(on_pass(model, begin))
        if fill == "drop":
            for _, encoder in encoders:
                stack.callback(encoder.register_forward_pre_hook(encode, with_kwargs=True).remove)
                stack.callback(encoder.register_forward_pre_hook(enter).remove)
                stack.callback(encoder.register_forward_hook(leave, always_call=True).remove)
                stack.callback(encoder.blocks[0].register_forward_pre_hook(refuse).remove)
            inside = tuple(f"{path}." for path, _ in encoders)
            for path, edit in edits.items():
                if readers and not path.startswith(inside):
                    edit.hidden_keys = keys
        yield


# The attentions whose keys are the tokens that a model of texts reads.
TEXT_READERS: dict[type[nn.Module], tuple[str, ...]] = {
    Seq2Seq: ("encoder.*", "decoder.*.cross_attn"),
    Bert: ("encoder.*",),
    PerceiverText: ("latents.read.*",),
}


def _hide_words(
    tokens: Sequence[int] | Tensor, fill: Fill, inner: nn.Module, edits: Mapping[str, _AttentionEdit]
) -> None:
    """Hide tokens of a text: no token attends to them."""
    name = type(inner).__name__
    if fill != "drop" or (isinstance(tokens, Tensor) and tokens.dtype == torch.bool):
        raise InterventionError(f"{name} reads texts: hide tokens by their indices, with fill='drop'")
    indices = [int(token) for token in tokens]

    def keys(count: int) -> Tensor:
        for index in indices:
            if not 0 <= index < count:
                raise InterventionError(f"there is no token {index}: they are 0 to {count - 1}")
        hidden = torch.zeros(count, dtype=torch.bool)
        hidden[indices] = True
        return hidden[None, None, None]

    patterns = next(paths for kind, paths in TEXT_READERS.items() if isinstance(inner, kind))
    for path in choose_layers(inner, Attention, "attention", patterns):
        edits[path].hidden_keys = keys


def hidden_map(tokens: Sequence[int] | Tensor, layout: TokenLayout) -> Tensor:
    """Token indices, or a boolean map ``[h, w]`` or ``[B, h, w]``, -> ``[1 or B, h, w]`` boolean, True where hidden.

    Raises:
        InterventionError: they are no patches of this layout.
    """
    if isinstance(tokens, Tensor) and tokens.dtype == torch.bool:
        if tuple(tokens.shape[-2:]) != layout.grid or tokens.ndim not in (2, 3):
            raise InterventionError(f"a map {list(tokens.shape)} does not fit the grid of {layout.grid} patches")
        return tokens.reshape(-1, *layout.grid)
    hidden = torch.zeros(layout.grid, dtype=torch.bool)
    for index in map(int, tokens):
        if not layout.num_prefix <= index < layout.num_tokens:
            raise InterventionError(
                f"token {index} is no patch: the patches are tokens {layout.num_prefix} to {layout.num_tokens - 1}"
            )
        hidden[layout.position(index)] = True
    return hidden[None]


def _pixels(hidden: Tensor, stride: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A map of patches ``[B, h, w]`` -> of pixels ``[B, H, W]``."""
    pixels = hidden.repeat_interleave(stride[0], dim=1).repeat_interleave(stride[1], dim=2)
    margins = (0, size[1] - pixels.shape[2], 0, size[0] - pixels.shape[1])
    return F.pad(pixels, margins)


def _filled(images: Tensor, hidden: Tensor, layout: TokenLayout, fill: Fill) -> Tensor:
    """Images ``[B, C, H, W]`` with the pixels of hidden patches replaced."""
    pixels = _pixels(hidden, layout.stride, (images.shape[-2], images.shape[-1]))[:, None]
    if fill == "zero":
        return images.masked_fill(pixels, 0.0)
    if fill == "mean":
        return torch.where(pixels, images.mean(dim=(2, 3), keepdim=True), images)
    if fill == "blur":
        sides = [min(6 * s + 1, 2 * ((n - 1) // 2) + 1) for s, n in zip(layout.stride, images.shape[-2:])]
        return torch.where(pixels, gaussian_blur(images, sides[::-1], list(map(float, layout.stride[::-1]))), images)
    raise InterventionError(f"unknown fill {fill!r}; choose drop, zero, mean or blur")
