"""Data, model and task of a sequence-to-sequence run: pairs of texts, or images with captions; a vocabulary learned
from the training texts."""

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
from saccade.data.texts import open_translations
from saccade.data.vocabulary import Vocabulary, vocabulary_for
from saccade.engine.images import fresh_preprocessing
from saccade.engine.setup import TrainingSetup
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of, create, list_models
from saccade.tasks.seq2seq.batches import ImageTextDataset, TranslationDataset
from saccade.tasks.seq2seq.config import Seq2SeqConfig
from saccade.tasks.seq2seq.task import Seq2SeqTask
from saccade.training.config import RunConfig

OF_TEXTS, OF_IMAGES = "seq2seq", "image_to_text"  # architectures by what their encoder reads


def make_setup(config: RunConfig, device: torch.device) -> TrainingSetup:
    """Open pairs and build an encoder-decoder for them."""
    options = config.options
    assert isinstance(options, Seq2SeqConfig)
    if config.augmentation.where == "batch" or config.augmentation.mixup or config.augmentation.cutmix:
        raise ConfigError("a mixed image has no caption: set mixup and cutmix to 0, and augmentation.where to image")
    initial = load_model(config.model.init) if config.model.init else None
    architecture = architecture_of(config.model.name) if initial is None else initial.architecture
    if initial is not None and architecture not in (OF_TEXTS, OF_IMAGES):
        architecture = architecture_of(config.model.name)  # `init` is the vision encoder of a fresh model
    if architecture not in (OF_TEXTS, OF_IMAGES):
        models = ", ".join([*list_models("seq2seq*"), *list_models("image_to_text*")])
        raise ConfigError(f"{config.model.name} is not an encoder-decoder model; there are {models}")
    if initial is not None and architecture == OF_TEXTS != initial.architecture:
        raise ConfigError(
            f"{config.model.init} is a {initial.architecture}, and a model that reads texts starts from another one; "
            f"on images, it is the encoder of {' or '.join(list_models('image_to_text*'))} (--model)"
        )
    splits = (open_translations if architecture == OF_TEXTS else open_pairs)(config.data.path, config.data)
    start, vocabulary = starting_model(config, splits, architecture, initial)
    length = min(options.max_length, start.model.config.context_length)
    preprocessing = start.preprocessing
    task = Seq2SeqTask(
        vocabulary, reads_images=preprocessing is not None, label_smoothing=options.label_smoothing, max_length=length
    )

    def dataset(part: Source, training: bool) -> BatchDataset:
        if preprocessing is None:
            return TranslationDataset(cast(TranslationSource, part), vocabulary, length)
        transform = TrainTransform(preprocessing, config.augmentation) if training else EvalTransform(preprocessing)
        skip_bad = training and config.data.bad_images == "skip"
        return ImageTextDataset(cast(CaptionSource, part), transform, vocabulary, length, skip_bad)

    val, test = (None if part is None else dataset(part, False) for part in (splits.val, splits.test))
    return TrainingSetup(start, task, dataset(splits.train, True), val, test, splits=splits)


def starting_model(
    config: RunConfig, splits: DataSplits, architecture: str, initial: LoadedModel | None
) -> tuple[LoadedModel, Vocabulary]:
    """The model at step 0 and its vocabulary.

    Args:
        config: of the run.
        splits: whose training texts a fresh model's vocabulary is learned from.
        architecture: "seq2seq" or "image_to_text".
        initial: the checkpoint of `model.init`: a model of this architecture, whose training continues, or a vision
            encoder for a new one; None for fresh weights.
    """
    model_config, options = config.model, config.options
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    if initial is not None and initial.architecture == architecture:
        start = adapt(
            initial, image_size=model_config.image_size, in_channels=model_config.in_channels,
            options=model_config.options,
        )  # fmt: skip
        vocabulary = vocabulary_for(start.vocabulary, start.model.config.vocab_size, model_config.init)
        return replace(start, task="seq2seq"), vocabulary
    vocabulary = Vocabulary.train(_texts(splits.train), options.vocabulary, options.vocab_size)
    fields = {
        "vocab_size": vocabulary.size, "pad": vocabulary.pad, "begin": vocabulary.begin, "end": vocabulary.end,
        "context_length": options.max_length,
        **({"block.dropout": model_config.dropout} if model_config.dropout else {}),
        **model_config.options,
    }  # fmt: skip
    model = create(
        model_config.name, image_size=model_config.image_size, in_channels=model_config.in_channels, options=fields
    )
    preprocessing = fresh_preprocessing(model) if architecture == OF_IMAGES else None
    start = LoadedModel(model, architecture, (), preprocessing, "seq2seq", vocabulary=vocabulary.files())
    if initial is not None:
        start = with_backbone(start, initial, model_config.drop_path, model_config.in_channels)
    return start, vocabulary


def _texts(source: Source) -> Iterable[str]:
    """Every text of a training split, sources and targets."""
    for index in range(len(source)):
        if hasattr(source, "pair"):
            yield from cast(TranslationSource, source).pair(index)
        else:
            yield from cast(CaptionSource, source).captions(index)
