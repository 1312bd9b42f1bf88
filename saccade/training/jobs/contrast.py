"""Which text belongs to which image: pairs, two towers, and a vocabulary to read with."""

from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.augmentation import EvalTransform, TrainTransform
from saccade.data.pair_batches import CaptionDataset
from saccade.data.pairs import open_pairs
from saccade.data.samples import CaptionSource, DataSplits
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.tokenizer import Tokenizer, open_tokenizer, tokenizer_from_files
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.contrastive import ContrastiveTask
from saccade.training.config import RunConfig
from saccade.training.distributed import Processes
from saccade.training.jobs.images import fresh_preprocessing
from saccade.training.jobs.job import AsItIs, Job, no_mixing

OPENAI = "openai"  # for contrast.vocabulary: the one in an installed package
TEXTS = 20000  # a vocabulary is learned from so many captions at most


def open_splits(config: RunConfig) -> DataSplits:
    return open_pairs(config.data.path, config.data)


def prepare(config: RunConfig, processes: Processes) -> Job:
    """Open images with captions and build a CLIP for them."""
    if config.accumulation > 1:
        raise ConfigError("parts of a batch would not see each other's pairs: set accumulation to 1")
    no_mixing(config)
    if config.contrast.texts < 1:
        raise ConfigError(f"contrast.texts must be at least 1, not {config.contrast.texts}")
    splits = open_splits(config)
    start, tokenizer = starting_model(config, cast(CaptionSource, splits.train))
    assert start.preprocessing is not None
    skip_bad, plain = config.data.bad_images == "skip", EvalTransform(start.preprocessing)
    views = TrainTransform(start.preprocessing, config.augmentation)
    train = CaptionDataset(cast(CaptionSource, splits.train), views, tokenizer, skip_bad, config.contrast.texts)
    val, test = (
        None if part is None else CaptionDataset(cast(CaptionSource, part), plain, tokenizer)
        for part in (splits.val, splits.test)
    )
    return Job(splits, start, ContrastiveTask(), train, val, test, AsItIs())


def starting_model(config: RunConfig, source: CaptionSource) -> tuple[LoadedModel, Tokenizer]:
    """A trained CLIP with its vocabulary; or a fresh one, its image tower trained where `model.init` names one."""
    wanted = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    loaded = load_model(wanted.init) if wanted.init else None
    if loaded is not None and loaded.architecture == "clip":
        loaded = adapt(loaded, image_size=wanted.image_size, options=wanted.options)
        if loaded.preprocessing is None:
            raise ConfigError(f"{wanted.init} does not say how images are prepared for it")
        text = loaded.model.config.text
        if loaded.vocabulary and not config.contrast.vocabulary:
            tokenizer = tokenizer_from_files(loaded.vocabulary, wanted.init, text.context_length)
        else:
            tokenizer = _named(config.contrast.vocabulary, text.context_length)
        if tokenizer.vocab_size != text.vocab_size:
            raise ConfigError(
                f"the vocabulary has {tokenizer.vocab_size} tokens and {wanted.init} reads {text.vocab_size}: give its "
                "own"
            )
        return replace(loaded, vocabulary=tokenizer.files(), task="contrast"), tokenizer
    architecture = architecture_of(wanted.name)
    if architecture != "clip":
        raise ConfigError(f"{wanted.name} reads no texts; there are {', '.join(list_models('clip*'))}")
    told = config.contrast
    if told.vocabulary:
        tokenizer = _named(told.vocabulary, told.context_length)
    else:
        step = max(1, len(source) // TEXTS)
        texts = [caption for index in range(0, len(source), step) for caption in source.captions(index)]
        tokenizer = Tokenizer.train(texts, told.vocab_size, told.context_length)
    options = {"text.vocab_size": tokenizer.vocab_size, "text.context_length": told.context_length, **wanted.options}
    model = create(wanted.name, image_size=wanted.image_size, options=options)
    start = LoadedModel(model, architecture, (), fresh_preprocessing(model), "contrast", vocabulary=tokenizer.files())
    return start if loaded is None else with_backbone(start, loaded, wanted.drop_path), tokenizer


def _named(vocabulary: str, context_length: int) -> Tokenizer:
    return open_tokenizer("" if vocabulary == OPENAI else vocabulary, context_length)
