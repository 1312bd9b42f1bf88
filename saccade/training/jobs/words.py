"""Learn a language from plain texts: hide words and ask for them."""

from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.data.samples import DataSplits, Source, TextSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.text_batches import MaskedTextDataset, TokenMasking
from saccade.data.texts import open_texts
from saccade.data.vocabulary import BYTE_ARCHITECTURES, Vocabulary, vocabulary_for
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.words import MaskedWords
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.job import AsItIs, Job, no_mixing

ARCHITECTURES = ("bert", "perceiver_text")


def open_splits(config: RunConfig) -> DataSplits:
    return open_texts(config.data.path, config.data)


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open texts and build a model that fills in their hidden words."""
    no_mixing(config)
    told, splits = config.words, open_splits(config)
    if not 0 < told.share < 1 or told.masked < 0 or told.random < 0 or told.masked + told.random > 1:
        raise ConfigError("words.share must lie in (0, 1), and words.masked and words.random in [0, 1] together")
    start, vocabulary = starting_model(config, splits)
    length = min(told.length, start.model.config.context_length)
    if told.next_sentence:
        if not getattr(start.model.config, "next_sentence", False):
            raise ConfigError("words.next_sentence needs a BERT with that head")
        if not any(cast(TextSource, splits.train).follower(i) is not None for i in range(len(splits.train))):
            raise ConfigError(f"{config.data.path} has no text that follows another: leave words.next_sentence off")
    masking = TokenMasking(told.share, told.masked, told.random, told.next_sentence)

    def dataset(part: Source) -> MaskedTextDataset:
        return MaskedTextDataset(cast(TextSource, part), vocabulary, length, masking)

    val, test = (None if part is None else dataset(part) for part in (splits.val, splits.test))
    return Job(splits, start, MaskedWords(vocabulary), dataset(splits.train), val, test, AsItIs())


def starting_model(config: RunConfig, splits: DataSplits) -> tuple[LoadedModel, Vocabulary]:
    """A trained model with its vocabulary, or a fresh one and a vocabulary of the data."""
    wanted, told = config.model, config.words
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    head = {"next_sentence": True} if told.next_sentence else {}
    if wanted.init:
        loaded = load_model(wanted.init)
        if loaded.architecture not in ARCHITECTURES:
            raise ConfigError(f"{wanted.init} reads no texts")
        needed = {"masked_lm": True, **head} if loaded.architecture == "bert" else {}
        loaded = adapt(loaded, options={**needed, **wanted.options})
        of_bytes, size = loaded.architecture in BYTE_ARCHITECTURES, loaded.model.config.vocab_size
        vocabulary = vocabulary_for(loaded.vocabulary, size, wanted.init, of_bytes=of_bytes)
        return replace(loaded, task="words", labels=(), vocabulary=vocabulary.files()), vocabulary
    architecture = architecture_of(wanted.name)
    if architecture not in ARCHITECTURES:
        models = ", ".join([*list_models("bert*"), *list_models("perceiver_text*")])
        raise ConfigError(f"{wanted.name} reads no texts; there are {models}")
    if architecture == "bert":
        head["masked_lm"] = True
    source = cast(TextSource, splits.train)
    texts = (source.text(index) for index in range(len(source)))
    kind = "byte" if architecture in BYTE_ARCHITECTURES else told.vocabulary
    vocabulary = Vocabulary.train(texts, kind, told.vocab_size)
    options = {"vocab_size": vocabulary.size, "context_length": told.length, **head, **wanted.options}
    model = create(wanted.name, options=options)
    return LoadedModel(model, architecture, (), None, "words", vocabulary=vocabulary.files()), vocabulary
