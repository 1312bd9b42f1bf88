"""Data, model and task of a contrastive run: images with captions, a CLIP, its tokenizer."""

from dataclasses import replace
from typing import cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import with_backbone
from saccade.data.augmentation import EvalTransform, TrainTransform
from saccade.data.pairs import open_pairs
from saccade.data.samples import CaptionSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.text_tokenizer import TextTokenizer
from saccade.data.tokenizer import Tokenizer, open_tokenizer, tokenizer_from_files
from saccade.engine.images import fresh_preprocessing
from saccade.engine.room import require_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.contrastive.batches import CaptionDataset
from saccade.tasks.contrastive.config import ContrastiveConfig
from saccade.tasks.contrastive.task import ContrastiveTask
from saccade.tasks.contrastive.texts import require_size
from saccade.training.config import ModelConfig, RunConfig

OPENAI = "openai"  # for contrastive.vocabulary: the one in an installed package
MAX_TEXTS = 20000  # captions of the training split from which a vocabulary is learned


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open images with captions and build a CLIP for them."""
    options, augmentation = options_of(config), config.augmentation
    if augmentation.where == "batch" or augmentation.mixup or augmentation.cutmix:
        raise ConfigError(
            "no text describes a mixed image: set augmentation.mixup and augmentation.cutmix to 0 and "
            "augmentation.where to image"
        )
    if options.texts < 1:
        raise ConfigError(f"contrastive.texts must be at least 1, not {options.texts}")
    splits = open_pairs(config.data.path, config.data)
    start, tokenizer = starting_model(config, cast(CaptionSource, splits.train))
    assert start.preprocessing is not None
    skip_bad, plain = config.data.bad_images == "skip", EvalTransform(start.preprocessing)
    transform = TrainTransform(start.preprocessing, augmentation)
    fixed = start.model.config.text.fixed_length
    train = CaptionDataset(
        cast(CaptionSource, splits.train), transform, tokenizer, skip_bad, options.texts, fixed_length=fixed
    )
    val, test = (
        None if part is None else CaptionDataset(cast(CaptionSource, part), plain, tokenizer, fixed_length=fixed)
        for part in (splits.val, splits.test)
    )
    return TrainingSetup(start, ContrastiveTask(start.model.config.objective), train, val, test, splits=splits)


def options_of(config: RunConfig) -> ContrastiveConfig:
    assert isinstance(config.options, ContrastiveConfig)
    return config.options


def starting_model(config: RunConfig, source: CaptionSource) -> tuple[LoadedModel, TextTokenizer]:
    """The model at step 0 with its tokenizer: a trained CLIP; or a fresh one, on the trained image encoder that
    `model.init` names."""
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    loaded = load_model(config.model.init) if config.model.init else None
    if loaded is not None and loaded.architecture == "clip":
        return trained_clip(loaded, config.model, options_of(config))
    return fresh_clip(loaded, config.model, options_of(config), source)


def trained_clip(
    loaded: LoadedModel, model: ModelConfig, options: ContrastiveConfig
) -> tuple[LoadedModel, TextTokenizer]:
    """A CLIP to continue with, and its own tokenizer or a given one."""
    changes = {**objective(options), **model.options}
    loaded = adapt(loaded, image_size=model.image_size, in_channels=model.in_channels, options=changes)
    require_preprocessing(loaded)
    text = loaded.model.config.text
    if loaded.vocabulary and not options.vocabulary:
        tokenizer = tokenizer_from_files(loaded.vocabulary, model.init, text.context_length)
    else:
        tokenizer = named_tokenizer(options.vocabulary, text.context_length)
    require_size(tokenizer, text.vocab_size, model.init)
    return replace(loaded, vocabulary=tokenizer.files(), task="contrastive"), tokenizer


def fresh_clip(
    encoder: LoadedModel | None, model: ModelConfig, options: ContrastiveConfig, source: CaptionSource
) -> tuple[LoadedModel, TextTokenizer]:
    """A fresh CLIP, its image encoder trained where one is given, and a tokenizer: a given one, or learned from the
    captions of `source`."""
    architecture = architecture_of(model.name)
    if architecture != "clip":
        models = ", ".join(list_models("clip*"))
        raise ConfigError(f"{model.name} has no text encoder; models for contrastive are {models}")
    if options.vocabulary:
        tokenizer = named_tokenizer(options.vocabulary, options.context_length)
    else:
        step = max(1, len(source) // MAX_TEXTS)
        texts = [caption for index in range(0, len(source), step) for caption in source.captions(index)]
        tokenizer = Tokenizer.train(texts, options.vocab_size, options.context_length)
    text = {"text.vocab_size": tokenizer.vocab_size, "text.context_length": options.context_length}
    net = create(
        model.name, image_size=model.image_size, in_channels=model.in_channels,
        options={**text, **objective(options), **model.options},
    )  # fmt: skip
    start = LoadedModel(net, architecture, (), fresh_preprocessing(net), "contrastive", vocabulary=tokenizer.files())
    if encoder is not None:
        start = with_backbone(start, encoder, model.drop_path, model.in_channels)
    return start, tokenizer


def objective(options: ContrastiveConfig) -> dict[str, str]:
    """The change of a model's config for a loss other than its own."""
    return {"objective": options.loss} if options.loss else {}


def named_tokenizer(vocabulary: str, context_length: int) -> TextTokenizer:
    return open_tokenizer("" if vocabulary == OPENAI else vocabulary, context_length)
