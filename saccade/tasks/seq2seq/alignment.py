"""Alignment: the decoder's cross-attention from each generated token to the source tokens or image parts
(Bahdanau et al., arXiv 1409.0473, figure 3; Vaswani et al., arXiv 1706.03762)."""

from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import to_pixels
from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.errors import ConfigError
from saccade.nn.generation import greedy
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.recording import record
from saccade.tasks.seq2seq.translate import encoder_decoder


@dataclass(frozen=True)
class Alignment:
    """A source, the text generated from it, and the cross-attention between them.

    Attributes:
        name: name of the source.
        tokens: tokens of the generated text, including the end token.
        weights: ``[len(tokens), keys]``, the mean over heads; rows sum to 1.
        source: tokens of a source text; () for an image.
        image: the model's input, ``[H, W, 3]`` uint8; None for a text.
        grid: (rows, columns) of the keys over the image; None for a text.
        layer: path of the attention.
    """

    name: str
    tokens: tuple[str, ...]
    weights: np.ndarray
    source: tuple[str, ...]
    image: np.ndarray | None
    grid: tuple[int, int] | None
    layer: str


@torch.inference_mode()
def align(predictor: Predictor, source: ImageLike, *, layer: int = -1, budget: str | int = "1 GiB") -> Alignment:
    """Decode greedily, and record the decoder's cross-attention over the generated text.

    Args:
        predictor: of an encoder-decoder model.
        source: a text, or an image.
        layer: index of the decoder's block, the last by default.
        budget: largest memory of the recording.

    Raises:
        ConfigError: the model generates no texts, or has no such block.
        RecordingError: the recording is larger than the budget.
    """
    model, task = encoder_decoder(predictor)
    depth = len(model.decoder)
    if not -depth <= layer < depth:
        raise ConfigError(f"there is no block {layer}: the decoder has {depth}")
    value, size = predictor.read(source)
    name = name_of(source, 0)
    inputs = task.input_batch([value], [size], [name]).inputs.to(predictor.device)
    path = f"decoder.{layer % depth}.cross_attn"
    vocabulary = task.vocabulary
    with matmul_precision(predictor.matmul_precision):
        (hypothesis,) = greedy(model, inputs, task.max_length)
        target = torch.tensor([[vocabulary.begin, *hypothesis.tokens]], device=predictor.device)
        with record(model, layers=[path], budget=budget, tokens=False) as trace:
            model(inputs, target)
    weights = trace.attention[path][0].mean(dim=0).numpy()  # [tokens, keys]
    tokens = tuple(vocabulary.tokens([*hypothesis.tokens, vocabulary.end]))
    if not predictor.reads_images:
        return Alignment(name, tokens, weights, tuple(vocabulary.tokens(inputs[0].tolist())), None, None, path)
    layout = model.token_layout(predictor.preprocess.size)
    assert layout is not None
    image = to_pixels(predictor.preprocess.denormalize(inputs[0].cpu()))
    return Alignment(name, tokens, weights, (), image, layout.grid, path)
