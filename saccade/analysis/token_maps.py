"""Maps of text models: attention between words, and what a prediction depends on through all layers.

Every map is between the tokens of two streams (words of a text, patches of an image): attention as it was recorded,
rollout and flow (Abnar & Zuidema, arXiv 2005.00928), relevance (Chefer et al., arXiv 2103.15679). For a CLIP each
encoder has its own maps, with the similarity of image and text as the prediction.

L layers, H heads, Q queries, K keys.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.attention_maps import reads_class_token, to_pixels
from saccade.analysis.relevance import stream_relevance
from saccade.analysis.result import to_plain
from saccade.analysis.streams import (
    IMAGE,
    Readout,
    Step,
    recorded_steps,
    stream_flow,
    stream_rollout,
    stream_sizes,
)
from saccade.engine.predictor import Predictor
from saccade.engine.reading import Prediction, Reading
from saccade.errors import ConfigError, RecordingError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.passes import Selection
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout
from saccade.nn.trace import Trace

TokenMethod = Literal["attention", "rollout", "flow", "relevance"]
TOKEN_METHODS: tuple[TokenMethod, ...] = get_args(TokenMethod)


@dataclass(frozen=True)
class TokenMap:
    """Maps from the tokens of one stream to those of another, or of the same.

    Attributes:
        queries, keys: names of the streams: "text", "source", "target", "image", "latents", …
        query_words, key_words: of the tokens; those of the keys are () where they are patches of an image.
        layers: paths of the L attentions; the method where it goes through all of them.
        heads: numbers of the H heads; () for the mean over heads, with H = 1.
        weights: ``[L, H, Q, K]``.
        grid: (rows, columns) of the keys over the image; None of words.
    """

    queries: str
    keys: str
    query_words: tuple[str, ...]
    key_words: tuple[str, ...]
    layers: tuple[str, ...]
    heads: tuple[int, ...]
    weights: np.ndarray
    grid: tuple[int, int] | None = None

    @property
    def key_names(self) -> tuple[str, ...]:
        """The words of the keys; of patches "patch ROW, COLUMN"."""
        if self.grid is None:
            return self.key_words
        return tuple(f"patch {row}, {column}" for row in range(self.grid[0]) for column in range(self.grid[1]))


@dataclass(frozen=True)
class TokenMaps:
    """All maps of one input by one method.

    Attributes:
        name: of the input.
        method: "attention", "rollout", "flow" or "relevance".
        parts: at least one.
        image: the model's input, ``[H, W, 3]`` uint8; None of a text alone.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "queries", "keys", "layer", "path", "head", "query", "query_word", "key", "key_word", "value",
    )  # fmt: skip

    name: str
    method: TokenMethod
    parts: tuple[TokenMap, ...]
    image: np.ndarray | None

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.method}"]
        for part in self.parts:
            lines.append(f"{part.queries} to {part.keys}" + (f", {part.layers[-1]}" if len(part.layers) > 1 else ""))
            last = part.weights[-1].mean(axis=0)
            for word, row in zip(part.query_words, last):
                best = np.argsort(-row, kind="stable")[:3]
                lines.append(f"  {word:<16} " + ", ".join(f"{part.key_names[k]} {row[k]:.3g}" for k in best))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        parts = [
            {
                "queries": p.queries, "keys": p.keys, "query_words": list(p.query_words),
                "key_words": list(p.key_names), "layers": list(p.layers), "heads": list(p.heads) or None,
                "weights": to_plain(p.weights),
            }
            for p in self.parts
        ]  # fmt: skip
        return {"input": self.name, "method": self.method, "parts": parts}

    def rows(self) -> list[tuple[Any, ...]]:
        rows = []
        for part in self.parts:
            names = part.key_names
            for (layer, head, query, key), value in np.ndenumerate(part.weights):
                number = part.heads[head] if part.heads else None
                words = query, part.query_words[query], key, names[key]
                rows.append((part.queries, part.keys, layer, part.layers[layer], number, *words, float(value)))
        return rows


def token_maps(
    predictor: Predictor,
    reading: Reading,
    method: TokenMethod = "attention",
    *,
    layers: Selection | None = None,
    heads: Sequence[int] | None = None,
    budget: str | int = "4 GiB",
) -> TokenMaps:
    """Run a text model on one input and compute its maps.

    Args:
        predictor: of the reading.
        reading: one input, as :func:`saccade.tasks.loading.read_tokens` makes it.
        method: "attention" of each layer and head; "rollout" of every output token through all layers; "flow" to each
            predicted token; "relevance" of the tokens for each prediction.
        layers, heads: of "attention", as for :func:`saccade.nn.recording.record`.
        budget: memory that the attention may take; relevance needs as much again for its gradients.

    Raises:
        ConfigError: no such method, an option that it does not take, or nothing that is predicted.
        RecordingError: no such layer or head, or more memory than the budget.
    """
    if method not in TOKEN_METHODS:
        raise ConfigError(f"there is no method {method!r} of texts: choose {', '.join(TOKEN_METHODS)}")
    if method != "attention" and (layers is not None or heads is not None):
        raise ConfigError(f"{method} of texts goes through all layers and heads: layers and heads are for attention")
    if method in ("flow", "relevance") and not reading.predictions:
        raise ConfigError(f"{method} explains a prediction: write [MASK] in the place of a token")
    model, arguments = predictor.model, reading.arguments
    grad = method == "relevance"
    if grad:
        arguments = tuple(x.detach().requires_grad_() if x.is_floating_point() else x for x in arguments)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(grad))
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(matmul_precision(predictor.matmul_precision))
        trace = stack.enter_context(record(model, layers, heads, budget=budget, tokens=False))
        outputs = model(*arguments)
    steps = recorded_steps(trace, model)
    readouts = _readouts(predictor, reading, steps, trace.layout)
    if method == "attention":
        parts = _attention(steps, reading, heads, trace.layout)
    elif method == "rollout":
        parts = _rollout(steps, reading, readouts, trace.layout)
    elif method == "flow":
        parts = _flow(steps, reading, readouts, trace.layout)
    else:
        parts = _relevance(predictor, steps, reading, readouts, trace, outputs)
    if not parts:
        raise RecordingError("no recorded attention leads from words or to words; choose others with layers")
    image = None if reading.image is None else to_pixels(predictor.preprocess.denormalize(reading.image))
    return TokenMaps(reading.name, method, tuple(parts), image)


def maps_of_words(
    predictor: Predictor,
    reading: Reading,
    method: str,
    *,
    target: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    budget: str | int = "4 GiB",
) -> TokenMaps:
    """:func:`token_maps` by the options of :func:`saccade.analysis.image_maps.image_map`.

    Raises:
        ConfigError: an option or a method that maps of images alone have.
    """
    if method not in TOKEN_METHODS:
        raise ConfigError(f"{method} is for images; maps of words are {', '.join(TOKEN_METHODS)}")
    if target is not None:
        raise ConfigError("words have no classes: the model's own prediction is explained")
    layers, heads = None if layer is None else [layer], None if head is None else [head]
    return token_maps(predictor, reading, method, layers=layers, heads=heads, budget=budget)


def _readouts(
    predictor: Predictor, reading: Reading, steps: Sequence[Step], layout: TokenLayout | None
) -> list[tuple[Prediction, Readout]]:
    """What each prediction is read from, in every stream that was recorded."""
    sizes, readouts = stream_sizes(steps), []
    for prediction in reading.predictions:
        for stream, token in prediction.rows.items():
            if stream == IMAGE and layout is not None and reads_class_token(predictor.model, layout):
                token = 0
            if stream in sizes:
                readouts.append((prediction, Readout(stream, token)))
    return readouts


def _attention(
    steps: Sequence[Step], reading: Reading, heads: Sequence[int] | None, layout: TokenLayout | None
) -> list[TokenMap]:
    """The recorded attentions by their streams; those among patches alone are left out."""
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        if (step.queries, step.keys) != (IMAGE, IMAGE):
            groups.setdefault((step.queries, step.keys), []).append(step)
    parts = []
    for (queries, keys), group in groups.items():
        most = max(len(step.weights) for step in group)
        padded = [torch.nn.functional.pad(s.weights, (0, 0, 0, 0, 0, most - len(s.weights))) for s in group]
        weights = torch.stack(padded)
        numbers = tuple(range(most)) if heads is None else tuple(heads)
        words = _query_words(reading, queries, weights.shape[2], predicted=keys != queries)
        parts.append(_part(reading, layout, queries, keys, words, [s.path for s in group], numbers, weights))
    return parts


def _rollout(
    steps: Sequence[Step],
    reading: Reading,
    readouts: Sequence[tuple[Prediction, Readout]],
    layout: TokenLayout | None,
) -> list[TokenMap]:
    """Of every token of the output streams; of an image encoder what its output is read from."""
    sizes, parts = stream_sizes(steps), []
    streams = dict.fromkeys([readout.stream for _, readout in readouts] or [steps[-1].queries])
    for stream in streams:
        if stream == IMAGE:
            prediction, readout = next(row for row in readouts if row[1].stream == IMAGE)
            rows, words = readout.rows(steps, layout), (prediction.word,)
        else:
            rows, words = torch.eye(sizes[stream]), _query_words(reading, stream, sizes[stream], predicted=True)
        shares = stream_rollout(steps, rows, stream)
        parts += _inputs(reading, layout, stream, words, shares, "rollout")
    return parts


def _flow(
    steps: Sequence[Step],
    reading: Reading,
    readouts: Sequence[tuple[Prediction, Readout]],
    layout: TokenLayout | None,
) -> list[TokenMap]:
    flows: dict[str, list[tuple[str, dict[str, Tensor]]]] = {}
    for prediction, readout in readouts:
        if readout.token is None:
            raise RecordingError(f"a flow goes to one token, and the mean of the {readout.stream} is read; use rollout")
        flows.setdefault(readout.stream, []).append(
            (prediction.word, stream_flow(steps, readout.token, readout.stream))
        )
    parts = []
    for stream, rows in flows.items():
        joined = {name: torch.stack([flow[name] for _, flow in rows]) for name in rows[0][1]}
        parts += _inputs(reading, layout, stream, tuple(word for word, _ in rows), joined, "flow")
    return parts


def _relevance(
    predictor: Predictor,
    steps: Sequence[Step],
    reading: Reading,
    readouts: Sequence[tuple[Prediction, Readout]],
    trace: Trace,
    outputs: Any,
) -> list[TokenMap]:
    """A row for each prediction, without what reaches it past all attention."""
    paths = [step.path for step in steps]
    rows: dict[str, list[tuple[str, dict[str, Tensor]]]] = {}
    for prediction in reading.predictions:
        score = prediction.score(outputs)
        gradients = torch.autograd.grad(
            score, [trace.attention[p] for p in paths], allow_unused=True, retain_graph=True
        )
        known = {path: gradient for path, gradient in zip(paths, gradients) if gradient is not None}
        weighted = recorded_steps(trace, predictor.model, known)
        for readout in (own for explained, own in readouts if explained is prediction):
            weights = readout.rows(steps, trace.layout)
            relevance = stream_relevance(weighted, readout.stream)
            values = {name: (weights @ matrix)[0] for name, matrix in relevance.items()}
            if readout.stream in values:
                values[readout.stream] = values[readout.stream] - weights[0]
            rows.setdefault(readout.stream, []).append((prediction.word, values))
    parts = []
    for stream, own in rows.items():
        joined = {name: torch.stack([values[name] for _, values in own]) for name in own[0][1]}
        parts += _inputs(reading, trace.layout, stream, tuple(word for word, _ in own), joined, "relevance")
    return parts


def _inputs(
    reading: Reading,
    layout: TokenLayout | None,
    stream: str,
    words: tuple[str, ...],
    values: dict[str, Tensor],
    method: str,
) -> list[TokenMap]:
    """The maps of output tokens over the streams that are inputs: words and patches, of which anything arrives."""
    parts = []
    for name, value in values.items():
        if (name in reading.words or name == IMAGE) and name != "output" and bool((value != 0).any()):
            parts.append(_part(reading, layout, stream, name, words, [method], (), value[None, None]))
    return parts


def _part(
    reading: Reading,
    layout: TokenLayout | None,
    queries: str,
    keys: str,
    words: tuple[str, ...],
    layers: Sequence[str],
    heads: tuple[int, ...],
    weights: Tensor,
) -> TokenMap:
    part = TokenMap(queries, keys, words, (), tuple(layers), heads, weights.detach().float().numpy())
    if keys == IMAGE:
        assert layout is not None
        return replace(part, weights=part.weights[..., layout.num_prefix :], grid=layout.grid)
    return replace(part, key_words=_words(reading, keys, weights.shape[-1]))


def _query_words(reading: Reading, stream: str, count: int, *, predicted: bool) -> tuple[str, ...]:
    """The names of the rows of a stream: what is predicted at each token, or the token."""
    if predicted and stream in reading.output_words:
        return reading.output_words[stream]
    return _words(reading, stream, count)


def _words(reading: Reading, stream: str, count: int) -> tuple[str, ...]:
    return reading.words.get(stream) or tuple(f"{stream.rstrip('s')} {number}" for number in range(count))
