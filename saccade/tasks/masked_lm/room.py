"""The room of masked language modelling."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.data.check import DataReport, check_data
from saccade.data.config import DataConfig
from saccade.data.samples import DataSplits, Source, TextSource
from saccade.data.texts import open_texts
from saccade.data.vocabulary import BYTE_ARCHITECTURES, find_vocabulary
from saccade.engine.room import ModelCard, TaskRoom, command, refuse_fix, refuse_options
from saccade.engine.setup import TrainingSetup
from saccade.tasks.masked_lm.batches import MaskedTextDataset
from saccade.tasks.masked_lm.config import MaskedLMConfig
from saccade.tasks.masked_lm.setup import make_setup, token_masking
from saccade.tasks.masked_lm.task import MaskedLMTask
from saccade.upgrade import option_names


class MaskedLMRoom(TaskRoom):
    """Masked tokens of texts."""

    name = "masked_lm"
    inputs = "texts"

    def open_data(self, path: str, config: DataConfig, source: LoadedModel | None = None) -> DataSplits:
        return open_texts(path, config)

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
        return check_data(open_texts(path, config), mode=mode, on_image=on_input)

    def setup(self, config: Any, device: torch.device) -> TrainingSetup:
        return make_setup(config, device)

    def task(self, source: LoadedModel, options: Mapping[str, Any] | None = None) -> MaskedLMTask:
        refuse_options(self.name, options, ("top",))
        size, length = source.model.config.vocab_size, source.model.config.context_length
        of_bytes = source.architecture in BYTE_ARCHITECTURES
        vocabulary = find_vocabulary(source.vocabulary, size, "the model's folder", of_bytes=of_bytes)
        return MaskedLMTask(vocabulary, max_length=length, **(options or {}))

    def eval_dataset(self, part: Source, source: LoadedModel) -> MaskedTextDataset:
        """Texts with the masking that the model was trained with; the same tokens are masked each time."""
        task, masking = self.task(source), token_masking(training_options(source))
        return MaskedTextDataset(cast(TextSource, part), task.vocabulary, task.max_length, masking)

    def card(self) -> ModelCard:
        return ModelCard(
            hub_task="fill-mask",
            description="A masked language model",
            usage='saccade.load("PATH_OF_THIS_FOLDER").predict("some [MASK] words")',
            limits="Its vocabulary is that of its training texts.",
        )

    def next_steps(self, run: Path, config: Any) -> list[str]:
        return [*super().next_steps(run, config), command("saccade", "fill", run, "some [MASK] words")]


def training_options(source: LoadedModel) -> MaskedLMConfig:
    """The options that a model was trained with; the defaults of a published one."""
    provenance = source.provenance
    values = provenance.get("options") or provenance.get("words") or {}  # "words" before 0.2
    names = option_names("masked_lm", values)
    known = {f.name for f in fields(MaskedLMConfig)}
    return MaskedLMConfig(**{name: value for name, value in names.items() if name in known})


ROOM = MaskedLMRoom()
