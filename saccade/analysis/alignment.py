"""Which word of a source, or which part of an image, each written word looked at: the decoder's cross-attention
(Bahdanau et al., arXiv 1409.0473, figure 3; Vaswani et al., arXiv 1706.03762)."""

from dataclasses import dataclass

import numpy as np
import torch

from saccade.analysis.attention_maps import to_pixels
from saccade.errors import ConfigError
from saccade.inference.predictor import ImageLike, Predictor
from saccade.inference.writing import inputs_of, reads_images, source_name, writer_of
from saccade.nn.generation import greedy
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.recording import record


@dataclass(frozen=True)
class Alignment:
    """One source and what was written of it.

    Attributes:
        name: of the source.
        written: the words that were written, the end among them.
        weights: ``[words, places]``, the mean over heads; rows sum to 1.
        source: the words of a text; () of an image.
        image: ``[H, W, 3]`` uint8 as the model saw it; None of a text.
        grid: how the places lie over the image, (rows, columns); None of a text.
        layer: path of the attention.
    """

    name: str
    written: tuple[str, ...]
    weights: np.ndarray
    source: tuple[str, ...]
    image: np.ndarray | None
    grid: tuple[int, int] | None
    layer: str


@torch.inference_mode()
def align(predictor: Predictor, source: ImageLike, *, layer: int = -1, budget: str | int = "1 GiB") -> Alignment:
    """Write, and record where the decoder looks as it writes.

    Args:
        predictor: with a model that writes.
        source: a text, or an image.
        layer: which of the decoder's blocks, the last unless given.
        budget: most memory of the recording.

    Raises:
        ConfigError: the model does not write, or has no such block.
        RecordingError: the recording is larger than the budget.
    """
    net, about = writer_of(predictor)
    depth = len(net.decoder)
    if not -depth <= layer < depth:
        raise ConfigError(f"there is no block {layer}: the decoder has {depth}")
    inputs = inputs_of(predictor, [source]).to(predictor.device)
    path = f"decoder.{layer % depth}.cross_attn"
    vocabulary = about.vocabulary
    with matmul_precision(predictor.matmul_precision):
        (text,) = greedy(net, inputs)
        target = torch.tensor([[vocabulary.begin, *text.tokens]], device=predictor.device)
        with record(net, layers=[path], budget=budget, tokens=False) as trace:
            net(inputs, target)
    weights = trace.attention[path][0].mean(dim=0).numpy()  # [words, places]
    written = tuple(vocabulary.tokens([*text.tokens, vocabulary.end]))
    name = source_name(predictor, source, 0)
    if not reads_images(predictor):
        return Alignment(name, written, weights, tuple(vocabulary.tokens(inputs[0].tolist())), None, None, path)
    layout = net.token_layout(predictor.preprocess.size)
    assert layout is not None
    seen = to_pixels(predictor.preprocess.denormalize(inputs[0].cpu()))
    return Alignment(name, written, weights, (), seen, layout.grid, path)
