"""A text as a masked language model reads it."""

import torch

from saccade.engine.predictor import Predictor
from saccade.engine.reading import Prediction, Reading
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.tasks.masked_lm.fill import masked_language_model
from saccade.tasks.masked_lm.task import labels_of, token_logits


@torch.no_grad()
def masked_lm_reading(predictor: Predictor, text: str) -> Reading:
    """The tokens of a text, and the most probable token at each [MASK] in it.

    Args:
        predictor: of a masked language model.
        text: with or without [MASK]; "[SEP]" separates two sentences.

    Raises:
        ConfigError: the model is none, or the text is longer than its context.
    """
    model, task = masked_language_model(predictor)
    batch = task.text_batch([text], [text]).to(predictor.device)
    tokens, vocabulary = batch.inputs, task.vocabulary
    arguments = (tokens, labels_of(batch)["types"], tokens != vocabulary.pad)
    masked = (tokens[0] == vocabulary.mask).nonzero()[:, 0].tolist()
    words = tuple(vocabulary.tokens(tokens[0].tolist()))
    predictions = []
    if masked:
        with matmul_precision(predictor.matmul_precision), evaluation_mode(model):
            best = token_logits(model(*arguments))[0, :, : vocabulary.size].argmax(-1)
        for place in masked:
            number = int(best[place])
            predictions.append(
                Prediction(
                    vocabulary.tokens([number])[0],
                    {model.attention_streams()[-1][1]: place},
                    lambda outputs, place=place, number=number: token_logits(outputs)[0, place, number],
                )
            )
    return Reading(text, arguments, {"text": words, "output": words}, tuple(predictions))
