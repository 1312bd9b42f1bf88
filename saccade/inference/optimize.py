"""The fastest exact way to run a model on this machine.

    fast = saccade.optimize("runs/photos", batch_size=8)     # a predictor
    fast.predict("cat.jpg")
    net = saccade.optimize(saccade.create("vit_s16"))        # or a module: images [B, C, H, W] -> the same output
    print(net.choice)

A copy of the model is rewritten (:mod:`saccade.inference.rewrites`: the same output in fewer steps) and given to every
installed backend; the fastest whose output agrees with the plain model's on real images is used.

B batch, C channels, H x W pixels, D width.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from saccade.data.images import ImageLike
from saccade.data.preprocessing import Preprocessing
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.candidates import FAILURES, Measurement, build, choose_backends, measure
from saccade.inference.choices import choice_key, store_choice, stored_choice
from saccade.inference.rewriting import Part, like, rewritten
from saccade.inference.samples import sample_batch
from saccade.inference.token_merging import merge_count
from saccade.models.clip import CLIP
from saccade.models.model import AttentionStreams, FeatureMap, Model
from saccade.nn.mode import evaluation_mode
from saccade.nn.passes import Unrecordable
from saccade.nn.patches import Size
from saccade.nn.tokens import TokenLayout

log = logging.getLogger("saccade")
CALIBRATION_IMAGES = {"f32": 2, "bf16": 64, "int8": 64}  # at least, and one batch


@dataclass(frozen=True)
class Choice:
    """The chosen backend, with the measurements.

    Attributes:
        backend: name of the backend.
        precision: of its products.
        measurements: measurement of every candidate, the fastest first; () if the choice comes from the cache.
        batch_shape: of the images ``[B, C, H, W]`` for which it was built.
        any_batch: whether it supports other B.
    """

    backend: str
    precision: Precision
    measurements: tuple[Measurement, ...]
    batch_shape: tuple[int, ...]
    any_batch: bool

    def __str__(self) -> str:
        head = f"fast: {self.backend}, {self.precision}, batches of {list(self.batch_shape)}"
        if not self.measurements:
            return f"{head} (measured before; `saccade doctor --clear-cache` deletes it)"
        lines = []
        for m in self.measurements:
            facts = [] if m.seconds is None else [f"{1000 * m.seconds:.1f} ms a batch"]
            facts += [] if m.error is None else [f"error {m.error:.0e}"]
            facts += [] if m.agreement is None else [f"{m.agreement:.0%} same classes"]
            lines.append(f"  {m.name}: {', '.join([*facts, m.refusal] if m.refusal else facts)}")
        return "\n".join([head, *lines])


class OptimizedModel(Unrecordable, Model):
    """A model whose output is computed by a backend. It cannot be trained, saved or recorded.

    Batches of another shape than it was built for, and other methods, are computed by the plain model.

    Args:
        plain: the model.
        method: of the plain model that the backend computes, "forward" or "embed".
        run: the backend's function.
        choice: what was chosen.
        form: an output of the method, for its type.
    """

    hidden = "its backend keeps no attention weights and no tokens"

    def __init__(self, plain: Model, method: str, run: Run, choice: Choice, form: object):
        super().__init__()
        self.plain, self.method, self.run, self.choice, self.form = plain, method, run, choice, form
        self.config, self.num_features = plain.config, plain.num_features
        self.head_names, self.position_names = plain.head_names, plain.position_names

    def forward(self, images: Tensor, *others: Tensor | None) -> Any:
        """The output of the plain model for images ``[B, C, H, W]``."""
        if self.method == "forward" and self._fits(images) and all(other is None for other in others):
            return like(self.form, self.run(images))
        return self.plain(images, *others)

    def embed(self, images: Tensor) -> Tensor:
        if self.method == "embed" and self._fits(images):
            return self.run(images)[0]
        return self.plain.embed(images)

    def _fits(self, images: Tensor) -> bool:
        shape, built = tuple(images.shape), self.choice.batch_shape
        return shape == built or (self.choice.any_batch and shape[1:] == built[1:])

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        return self.plain.feature_maps(images)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.plain.block_maps(images, blocks)

    def example_inputs(self, batch_size: int = 1, image_size: Size | None = None) -> tuple[Tensor, ...]:
        return self.plain.example_inputs(batch_size, image_size)

    def token_layout(self, image_size: Size | None = None) -> TokenLayout | None:
        return self.plain.token_layout(image_size)

    def attention_streams(self) -> AttentionStreams:
        return self.plain.attention_streams()


def optimize(
    model: Any,
    *,
    method: Literal["forward", "embed"] = "forward",
    precision: Precision = "f32",
    batch_size: int = 1,
    image_size: Size | int | None = None,
    images: Sequence[ImageLike] | Tensor | None = None,
    backends: Sequence[str] | None = None,
    seconds: float = 10.0,
    cache: bool = True,
) -> Any:
    """The fastest way to run a model on this machine, within 1e-5 of the output's scale.

    A model with token merging is compared by its predicted classes, as other precisions are, since rounding decides
    between equally similar pairs of tokens.

    Args:
        model: a predictor, as :func:`saccade.load` returns it, or an image model.
        method: method to accelerate: the output, or the features before the head. For a CLIP, its image encoder.
        precision: "f32"; or "bf16" or "int8", used only if 95 % of the predicted classes of calibration images stay the
            same.
        batch_size: B, batch size to optimise for.
        image_size: (H, W) in pixels to optimise for; the model's own by default.
        images: real images to compare with the plain model on: of a predictor what it predicts, of a model its inputs
            ``[N, C, H, W]``; crops of photographs by default.
        backends: candidates, of "torch", "torch with packed weights", "openvino", "onnxruntime" and "inductor"; all
            installed ones except the last by default.
        seconds: time for the measurements.
        cache: whether the choice is stored in, and read from, ``~/.cache/saccade/optimize``.

    Returns:
        a predictor, or an :class:`OptimizedModel` (a CLIP with one as its image encoder); ``choice`` of the model has
        the measurements.

    Raises:
        ConfigError: the model reads texts or is not on the CPU, or no candidate is exact enough.
    """
    predictor = model if isinstance(model, Predictor) else None
    network = predictor.model if predictor else model
    if not isinstance(network, Model) or isinstance(network, OptimizedModel):
        raise ConfigError(f"optimize takes a predictor or a plain model of saccade, not a {type(network).__name__}")
    if network.config.image_size is None:
        raise ConfigError(f"a {type(network).__name__} reads texts: only image models can be optimised")
    if next(iter(network.parameters())).device.type != "cpu":
        raise ConfigError("optimize is for the CPU: use torch.compile on another device")
    if precision not in CALIBRATION_IMAGES:
        raise ConfigError(f"precision must be f32, bf16 or int8, not {precision!r}")
    if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise ConfigError("this processor has no bfloat16 products: use f32 or int8")
    own = tuple(network.config.image_size)
    if predictor and predictor.source.preprocessing and not predictor.preprocess.keeps_aspect:
        own = predictor.preprocess.size
    size = (image_size, image_size) if isinstance(image_size, int) else image_size or own
    least = CALIBRATION_IMAGES["bf16" if merge_count(network) else precision]
    batches = _batches(predictor, network, images, (size[0], size[1]), batch_size, least)
    candidates = choose_backends(backends, precision)
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(network):
        if isinstance(network, CLIP):
            fast: Model = copy.copy(network)
            fast._modules = dict(network._modules)  # the copy's own: the module itself keeps its image encoder
            encoder = _fastest(network.backbone, "embed", batches, candidates, precision, seconds, cache)
            fast.set_submodule("backbone", encoder)
        else:
            fast = _fastest(network, method, batches, candidates, precision, seconds, cache)
    if predictor is None:
        return fast
    result = copy.copy(predictor)
    result.model = fast
    return result


def choice_of(model: Model) -> Choice:
    """The choice of :func:`optimize` for its result."""
    fast = model.backbone if isinstance(model, CLIP) else model
    assert isinstance(fast, OptimizedModel)
    return fast.choice


def _fastest(
    plain: Model, method: str, batches: list[Tensor], backends: list[Backend], precision: Precision, seconds: float,
    cache: bool,
) -> OptimizedModel:  # fmt: skip
    example = batches[0]
    part = Part(rewritten(plain), method).eval()
    reference = Part(plain, method)
    form = plain.embed(example) if method == "embed" else plain(example)
    key = choice_key(plain, [method, precision, list(example.shape), merge_count(plain)], backends) if cache else ""
    by_name = {backend.name: backend for backend in backends}
    before = stored_choice(key) if cache else None
    run, measurements = None, []
    if before in by_name:
        try:
            run = build(by_name[before], part, example, precision)
        except FAILURES as error:
            log.info("the stored choice %s no longer runs here: %s", before, error)
    name = before
    if run is None:
        measurements, runs = measure(part, reference, batches, backends, precision, seconds, merge_count(plain) > 0)
        name = measurements[0].name
        if name not in runs:
            raise ConfigError(
                f"no backend in {precision} is exact enough: "
                + "; ".join(f"{m.name}: {m.refusal}" for m in measurements)
            )
        run = runs[name]
    assert name is not None
    choice = Choice(name, precision, tuple(measurements), tuple(example.shape), by_name[name].any_batch)
    if cache and measurements:
        store_choice(key, name, str(choice))
    return OptimizedModel(plain, method, run, choice, form)


def _batches(
    predictor: Predictor | None, network: Model, images: Sequence[ImageLike] | Tensor | None, size: Size,
    batch_size: int, least: int,
) -> list[Tensor]:  # fmt: skip
    """Real images as inputs ``[batch_size, C, H, W]``, with at least that many images in total."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    count = max(least, batch_size)
    if images is None:
        channels = network.config.in_channels
        preprocessing = None if predictor is None else predictor.source.preprocessing
        if preprocessing is None:
            half = (0.5,) * channels
            preprocessing = Preprocessing((size[0], size[1]), channels=channels, mean=half, std=half)
        if channels not in (1, 3):
            stack = network.example_inputs(count, size)[0]
        else:
            stack = sample_batch(preprocessing, size, count)
    elif isinstance(images, Tensor):
        stack = images
    elif predictor is None:
        raise ConfigError("a plain model is compared on its inputs: give images as a tensor [N, C, H, W]")
    else:
        stack = torch.stack([predictor.prepare(one) for one in images])
    if tuple(stack.shape[-2:]) != tuple(size):
        raise ConfigError(f"the images are {list(stack.shape[-2:])} pixels, not {list(size)}: give image_size=")
    stack = stack.repeat(-(-count // len(stack)), 1, 1, 1)[: -(-count // batch_size) * batch_size]
    stack = torch.cat([stack, stack[: -len(stack) % batch_size]])
    return list(stack.split(batch_size))
