"""Data, model and task of a masked language modelling run: plain texts, an encoder, a vocabulary learned from the
training texts."""

from dataclasses import replace
from typing import cast

import torch
from torch import nn

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.data.samples import DataSplits, Source, TextSource
from saccade.data.seeding import RandomStream, mix_seed
from saccade.data.texts import open_texts
from saccade.data.vocabulary import BYTE_ARCHITECTURES, Vocabulary, vocabulary_for
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.bert import Bert
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.masked_lm.batches import MaskedTextDataset, TokenMasking
from saccade.tasks.masked_lm.config import MaskedLMConfig
from saccade.tasks.masked_lm.task import MaskedLMTask
from saccade.training.config import RunConfig


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open texts and build a masked language model for them."""
    options = config.options
    assert isinstance(options, MaskedLMConfig)
    if config.augmentation.where == "batch" or config.augmentation.mixup or config.augmentation.cutmix:
        raise ConfigError("texts cannot be mixed: set mixup and cutmix to 0, and augmentation.where to image")
    splits = open_texts(config.data.path, config.data)
    start, vocabulary = starting_model(config, splits)
    length = min(options.max_length, start.model.config.context_length)
    if options.next_sentence:
        if not getattr(start.model.config, "next_sentence", False):
            raise ConfigError(f"masked_lm.next_sentence needs a BERT; {start.architecture} has no head for it")
        if not any(cast(TextSource, splits.train).follower(i) is not None for i in range(len(splits.train))):
            raise ConfigError(
                f"{config.data.path} has no text that follows another in its document: set masked_lm.next_sentence to "
                "false"
            )
    freeze_unused(start.model)
    masking = token_masking(options)

    def dataset(part: Source) -> MaskedTextDataset:
        return MaskedTextDataset(cast(TextSource, part), vocabulary, length, masking)

    val, test = (None if part is None else dataset(part) for part in (splits.val, splits.test))
    task = MaskedLMTask(vocabulary, max_length=length)
    return TrainingSetup(start, task, dataset(splits.train), val, test, splits=splits)


def freeze_unused(model: nn.Module) -> None:
    """Freeze a BERT's pooler where no next-sentence head reads it: DDP waits for the gradient of every parameter that
    requires one."""
    if isinstance(model, Bert) and model.pooler is not None and model.next_head is None:
        model.pooler.requires_grad_(False)


def token_masking(options: MaskedLMConfig) -> TokenMasking:
    """Which tokens a run masks."""
    return TokenMasking(options.mask_ratio, options.mask_token, options.random_token, options.next_sentence)


def starting_model(config: RunConfig, splits: DataSplits) -> tuple[LoadedModel, Vocabulary]:
    """The model at step 0 and its vocabulary: a checkpoint with its own, or fresh weights and one of the data."""
    model_config, options = config.model, config.options
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    heads = {"next_sentence": True} if options.next_sentence else {}
    if model_config.init:
        start = load_model(model_config.init)
        if start.architecture not in MaskedLMConfig.ARCHITECTURES:
            raise ConfigError(f"{model_config.init} is a {start.architecture}, not a masked language model")
        needed = {"masked_lm": True, **heads} if start.architecture == "bert" else {}
        start = adapt(start, in_channels=model_config.in_channels, options={**needed, **model_config.options})
        of_bytes, size = start.architecture in BYTE_ARCHITECTURES, start.model.config.vocab_size
        vocabulary = vocabulary_for(start.vocabulary, size, model_config.init, of_bytes=of_bytes)
        return replace(start, task="masked_lm", labels=(), vocabulary=vocabulary.files()), vocabulary
    architecture = architecture_of(model_config.name)
    if architecture not in MaskedLMConfig.ARCHITECTURES:
        models = ", ".join([*list_models("bert*"), *list_models("perceiver_text*")])
        raise ConfigError(f"{model_config.name} is not a masked language model; there are {models}")
    if architecture == "bert":
        heads["masked_lm"] = True
    source = cast(TextSource, splits.train)
    texts = (source.text(index) for index in range(len(source)))
    kind = "byte" if architecture in BYTE_ARCHITECTURES else options.vocabulary
    vocabulary = Vocabulary.train(texts, kind, options.vocab_size)
    fields = {"vocab_size": vocabulary.size, "context_length": options.max_length, **heads, **model_config.options}
    model = create(model_config.name, in_channels=model_config.in_channels, options=fields)
    return LoadedModel(model, architecture, (), None, "masked_lm", vocabulary=vocabulary.files()), vocabulary
