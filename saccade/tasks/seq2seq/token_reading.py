"""A source and the text generated from it, as an encoder-decoder reads them."""

import torch

from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.engine.reading import Prediction, Reading
from saccade.nn.generation import greedy
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.tasks.seq2seq.translate import encoder_decoder


def seq2seq_reading(predictor: Predictor, source: ImageLike) -> Reading:
    """Decode greedily; each token of the generated text, its end included, is a prediction.

    Args:
        predictor: of an encoder-decoder model.
        source: a text, or an image.

    Raises:
        ConfigError: the model generates no texts.
    """
    model, task = encoder_decoder(predictor)
    vocabulary = task.vocabulary
    value, size = predictor.read(source)
    name = name_of(source, 0)
    inputs = task.input_batch([value], [size], [name]).inputs.to(predictor.device)
    with matmul_precision(predictor.matmul_precision), evaluation_mode(model):
        (hypothesis,) = greedy(model, inputs, task.max_length)
    target = [vocabulary.begin, *hypothesis.tokens]
    generated = [*hypothesis.tokens, vocabulary.end]
    words = vocabulary.tokens(generated)
    predictions = tuple(
        Prediction(word, {"target": place}, lambda outputs, place=place, number=number: outputs[0, place, number])
        for place, (word, number) in enumerate(zip(words, generated))
    )
    streams = {"target": tuple(vocabulary.tokens(target))}
    if not predictor.reads_images:
        streams["source"] = tuple(vocabulary.tokens(inputs[0].tolist()))
    return Reading(
        name=name,
        arguments=(inputs, torch.tensor([target], device=predictor.device)),
        words=streams,
        predictions=predictions,
        output_words={"target": tuple(words)},
        image=inputs[0].cpu() if predictor.reads_images else None,
    )
