"""The room of sequence to sequence: translation, and image to text."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.augmentation import EvalTransform
from saccade.data.batching import BatchDataset
from saccade.data.check import DataReport, check_data
from saccade.data.config import DataConfig
from saccade.data.pairs import has_captions, open_pairs
from saccade.data.samples import CaptionSource, DataSplits, Source, TranslationSource
from saccade.data.texts import open_translations
from saccade.data.vocabulary import find_vocabulary
from saccade.engine.graph_end import GraphEnd, GraphPart
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options
from saccade.engine.setup import TrainingSetup
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.tasks.seq2seq.batches import ImageTextDataset, TranslationDataset
from saccade.tasks.seq2seq.graph import CaptionGraph, EncoderPart, StepPart
from saccade.tasks.seq2seq.setup import make_setup
from saccade.tasks.seq2seq.task import Seq2SeqTask


class Seq2SeqRoom(TaskRoom):
    """Sequence to sequence: a text for a text or an image."""

    name = "seq2seq"
    inputs = "pairs"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        images = has_captions(path) if source is None else source.preprocessing is not None
        if images:
            return open_pairs(path, config, for_training=source is None)
        return open_translations(path, config)

    def check(
        self,
        path: str,
        config: DataConfig | None = None,
        *,
        mode: str = "full",
        fix: bool = False,
        on_input: Callable[[int, int], None] | None = None,
    ) -> DataReport:
        refuse_fix(self.name, fix)
        return check_data(self.open_data(path, config or DataConfig()), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> Seq2SeqTask:
        refuse_options(self.name, options, ("num_beams", "length_penalty", "early_stopping"))
        size, length = source.model.config.vocab_size, source.model.config.context_length
        vocabulary = find_vocabulary(source.vocabulary, size, "the model's folder")
        images = source.preprocessing is not None
        return Seq2SeqTask(vocabulary, reads_images=images, max_length=length, **(options or {}))

    def eval_dataset(self, part: Source, source: LoadedModel) -> BatchDataset:
        vocabulary, length = self.task(source).vocabulary, source.model.config.context_length
        if source.preprocessing is None:
            return TranslationDataset(cast(TranslationSource, part), vocabulary, length)
        return ImageTextDataset(cast(CaptionSource, part), EvalTransform(source.preprocessing), vocabulary, length)

    def graph_end(self, source: LoadedModel, task: Task) -> GraphEnd:
        require_vocabulary(source)
        return CaptionGraph(source.model.config, cast(Seq2SeqTask, task))

    def text_parts(self, source: LoadedModel, task: Task) -> tuple[GraphPart, ...]:
        require_vocabulary(source)
        return EncoderPart(source.model.config, cast(Seq2SeqTask, task)), StepPart(reads_images=False)

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="translation",
            description="An encoder-decoder model that generates texts",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("a text, or the path of an image").text',
            limits="Its vocabulary is that of its training texts.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        source = "IMAGE" if has_captions(config.data.path) else "some words"
        return [
            *super().next_steps(run, config),
            command("saccade", "translate", run, source, "--draw", "alignment.png"),
        ]


def require_vocabulary(source: LoadedModel) -> None:
    """Raise ConfigError where a model has no vocabulary that an exported file could read and write texts by."""
    if find_vocabulary(source.vocabulary, source.model.config.vocab_size, "the model's folder") is None:
        raise ConfigError("the model has no vocabulary: an exported file could neither read nor write texts")


ROOM = Seq2SeqRoom()
