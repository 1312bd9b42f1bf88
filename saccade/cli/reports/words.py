"""The part of a report that belongs to hidden words."""

from typing import Any, cast

import torch

from saccade.analysis.word_optimum import word_optimum
from saccade.cli.reports.content import Content
from saccade.data.samples import DataSplits, TextSource
from saccade.data.text_batches import IGNORE_INDEX, MaskedTextDataset
from saccade.data.texts import NUMBERS
from saccade.inference.evaluation import prepared_texts
from saccade.inference.predictor import Predictor
from saccade.reporting.texts import HiddenWord, words_section, words_tiles
from saccade.tasks.text_predictions import WordsMetrics

PASSAGES, GUESSES = 8, 3
COUNTED = 200_000  # largest limit of numbers whose optimum is computed for a report
COUNTED_TEXTS = 3000
SMALLEST = 0.005  # probability of a second or third guess that is worth naming


def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, with the optimum for numbers in words, and some passages."""
    metrics = WordsMetrics(**told["metrics"])
    source = splits.test if told["split"] == "test" else splits.val
    assert source is not None
    passages = cast(MaskedTextDataset, prepared_texts(predictor, cast(TextSource, source)))
    trained_on = predictor.source.provenance["data"]
    limit = trained_on["config"]["numbers"]["limit"]
    optimum = None
    if trained_on["path"] == NUMBERS and limit <= COUNTED and metrics.follows is None and metrics.hidden:
        optimum = word_optimum(passages, limit, most=COUNTED_TEXTS).expected
    shown = [_passage(predictor, passages, index) for index in range(len(source))[: 4 * PASSAGES]]
    asked = [passage for passage in shown if any(word.guesses for word in passage)][:PASSAGES]
    return Content(metrics, words_tiles(metrics, optimum), words_section(asked))


@torch.inference_mode()
def _passage(predictor: Predictor, passages: MaskedTextDataset, index: int) -> list[HiddenWord]:
    """A held-out text as it was measured, with the model's guesses."""
    vocabulary = passages.vocabulary
    batch = passages.collate([passages[index, ()]])[0].to(predictor.device)
    shares = predictor.about.run(predictor.model, batch).logits[0].float().softmax(-1)
    assert isinstance(batch.labels, dict)
    words = []
    for place, (number, target) in enumerate(zip(batch.inputs[0].tolist(), batch.labels["target"][0].tolist())):
        (text,) = vocabulary.tokens([number])
        if target == IGNORE_INDEX:
            words.append(HiddenWord(text))
            continue
        best = shares[place].topk(min(GUESSES, shares.shape[1]))
        named = zip(vocabulary.tokens(best.indices.tolist()), best.values.tolist())
        guesses = tuple(guess for place, guess in enumerate(named) if not place or guess[1] > SMALLEST)
        words.append(HiddenWord(text, vocabulary.tokens([target])[0], guesses))
    return words
