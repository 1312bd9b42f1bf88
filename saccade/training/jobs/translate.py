"""Texts out of texts, or out of images: pairs, a model that writes, and a vocabulary learned from the data."""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.augmentation import EvalTransform, TrainTransform
from saccade.data.batching import BatchDataset
from saccade.data.pairs import open_pairs
from saccade.data.samples import CaptionSource, DataSplits, Source, TranslationSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.text_batches import ImageTextDataset, TranslationDataset
from saccade.data.texts import open_translations
from saccade.data.vocabulary import Vocabulary, vocabulary_for
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.translation import TranslationTask
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.images import fresh_preprocessing
from saccade.training.jobs.job import AsItIs, Job, no_mixing

TEXTS, IMAGES = "seq2seq", "image_to_text"  # architectures by what they read


def open_splits(config: RunConfig) -> DataSplits:
    """Pairs of texts, or images with captions where the model looks at images."""
    wanted = config.model
    architecture = load_model(wanted.init).architecture if wanted.init else architecture_of(wanted.name)
    return (open_translations if architecture == TEXTS else open_pairs)(config.data.path, config.data)


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open pairs and build a model that writes."""
    no_mixing(config)
    splits = open_splits(config)
    start, vocabulary = starting_model(config, splits)
    length = min(config.translation.length, start.model.config.context_length)
    task = TranslationTask(vocabulary, config.label_smoothing, length)
    preprocessing = start.preprocessing

    def dataset(part: Source, training: bool) -> BatchDataset:
        if preprocessing is None:
            return TranslationDataset(cast(TranslationSource, part), vocabulary, length)
        views = TrainTransform(preprocessing, config.augmentation) if training else EvalTransform(preprocessing)
        skip_bad = training and config.data.bad_images == "skip"
        return ImageTextDataset(cast(CaptionSource, part), views, vocabulary, length, skip_bad)

    val, test = (None if part is None else dataset(part, False) for part in (splits.val, splits.test))
    return Job(splits, start, task, dataset(splits.train, True), val, test, AsItIs())


def starting_model(config: RunConfig, splits: DataSplits) -> tuple[LoadedModel, Vocabulary]:
    """A trained model with its vocabulary; or a fresh one, its ViT trained where `model.init` names one."""
    wanted, told = config.model, config.translation
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    loaded = load_model(wanted.init) if wanted.init else None
    if loaded is not None and loaded.architecture in (TEXTS, IMAGES):
        loaded = adapt(loaded, image_size=wanted.image_size, options=wanted.options)
        vocabulary = vocabulary_for(loaded.vocabulary, loaded.model.config.vocab_size, wanted.init)
        return replace(loaded, task="translation"), vocabulary
    architecture = architecture_of(wanted.name)
    if architecture not in (TEXTS, IMAGES):
        models = ", ".join([*list_models("seq2seq*"), *list_models("image_to_text*")])
        raise ConfigError(f"{wanted.name} writes no texts; there are {models}")
    vocabulary = Vocabulary.train(_texts(splits.train), told.vocabulary, told.vocab_size)
    options = {
        "vocab_size": vocabulary.size, "pad": vocabulary.pad, "begin": vocabulary.begin, "end": vocabulary.end,
        "context_length": told.length, **({"block.dropout": wanted.dropout} if wanted.dropout else {}),
        **wanted.options,
    }  # fmt: skip
    model = create(wanted.name, image_size=wanted.image_size, options=options)
    preprocessing = fresh_preprocessing(model) if architecture == IMAGES else None
    start = LoadedModel(model, architecture, (), preprocessing, "translation", vocabulary=vocabulary.files())
    return start if loaded is None else with_backbone(start, loaded, wanted.drop_path), vocabulary


def _texts(source: Source) -> Iterable[str]:
    """Everything that is read or written in training."""
    for index in range(len(source)):
        if hasattr(source, "pair"):
            yield from cast(TranslationSource, source).pair(index)
        else:
            yield from cast(CaptionSource, source).captions(index)
