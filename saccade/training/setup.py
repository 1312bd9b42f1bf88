"""From a config to what the loop needs: data, model, order of the images. The same in every process."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.data.augmentation import BatchAugmentation, EvalTransform, TrainTransform, mix_seed
from saccade.data.batching import PreparedImages, TrainOrder, default_workers, prepared
from saccade.data.folder import open_data
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import DataSplits, ImageSource
from saccade.errors import ConfigError
from saccade.models.deit import DistilledViT
from saccade.models.model import Model
from saccade.models.zoo import architecture_of, config_of, create
from saccade.tasks.classification import ClassificationTask
from saccade.tasks.distillation import DistillationTask
from saccade.training.config import ModelConfig, RunConfig
from saccade.training.distributed import Processes
from saccade.training.teacher import Teacher


@dataclass(frozen=True)
class Setup:
    """A run that could start.

    Attributes:
        splits: the images.
        start: the model at step 0, with labels and preprocessing.
        task: loss and metrics.
        images: the training split as the model takes it.
        order: which of them are in which step.
        augmentation: of whole batches.
        total_steps: of the run.
        workers: loader processes.
        precision: "float32" or "bfloat16".
    """

    splits: DataSplits
    start: LoadedModel
    task: ClassificationTask
    images: PreparedImages
    order: TrainOrder
    augmentation: BatchAugmentation
    total_steps: int
    workers: int
    precision: str

    @property
    def model(self) -> Model:
        return self.start.model

    def held_out(self, source: ImageSource) -> PreparedImages:
        """A split that is only looked at, as the model takes it."""
        return prepared(source, EvalTransform(self.preprocessing), self.input_size)

    @property
    def preprocessing(self) -> Preprocessing:
        assert self.start.preprocessing is not None
        return self.start.preprocessing

    @property
    def input_size(self) -> tuple[int, int, int]:
        return self.preprocessing.channels, *self.preprocessing.size

    def autocast(self, device: torch.device) -> AbstractContextManager:
        if self.precision == "bfloat16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()


def prepare(config: RunConfig, processes: Processes) -> Setup:
    """Open the data and build the model.

    Raises:
        DataError, ConfigError, CheckpointError: what does not fit, before anything is computed.
    """
    splits = open_data(config.data.path, config.data)
    start = starting_model(config, splits)
    assert start.preprocessing is not None
    order = TrainOrder(
        len(splits.train), config.batch_size, config.seed, config.augmentation.repeats, processes.rank, processes.world
    )
    share = config.batch_size // processes.world
    mixes = config.augmentation.mixup or config.augmentation.cutmix
    if share % config.accumulation:
        raise ConfigError(f"{share} images a process cannot be cut into accumulation={config.accumulation} equal parts")
    if mixes and processes.world > 1 and share % 2:
        raise ConfigError(f"mixup and cutmix mix neighbours: {share} images a process must be an even number")
    transform = TrainTransform(start.preprocessing, config.augmentation)
    size = (start.preprocessing.channels, *start.preprocessing.size)
    images = prepared(splits.train, transform, size, config.data.bad_images == "skip")
    workers = default_workers(images) if config.data.workers is None else config.data.workers
    on_gpu = processes.device.type == "cuda"
    return Setup(
        splits=splits,
        start=start,
        task=make_task(config, start, processes.device),
        images=images,
        order=order,
        augmentation=BatchAugmentation(config.augmentation, len(splits.classes), config.seed),
        total_steps=config.schedule.steps or config.schedule.epochs * order.steps_per_epoch,
        workers=workers,
        precision=("bfloat16" if on_gpu else "float32") if config.precision == "auto" else config.precision,
    )


def make_task(config: RunConfig, start: LoadedModel, device: torch.device) -> ClassificationTask:
    """Classification, with a teacher where the config names one."""
    wanted = config.distillation
    if not wanted.teacher:
        return ClassificationTask(start.labels, label_smoothing=config.label_smoothing)
    assert start.preprocessing is not None
    teacher = Teacher(wanted.teacher, start.labels, start.preprocessing, device)
    if isinstance(start.model, DistilledViT):
        start.model.apart = True
    return DistillationTask(
        start.labels, teacher, kind=wanted.kind, alpha=wanted.alpha, temperature=wanted.temperature,
        label_smoothing=config.label_smoothing,
    )  # fmt: skip


def starting_model(config: RunConfig, splits: DataSplits) -> LoadedModel:
    """The model at step 0: fresh, or a checkpoint with a head for these classes."""
    wanted, classes = config.model, splits.classes
    torch.manual_seed(mix_seed(config.seed, 0, 3))
    if wanted.init:
        loaded = load_model(wanted.init, image_size=wanted.image_size)
        options = model_options(wanted, loaded.model.config)
        if loaded.preprocessing is None:
            raise ConfigError(f"{wanted.init} does not say how images are prepared for it")
        if loaded.labels != classes:  # also where only the names differ: a head knows its own classes
            loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(classes))
        loaded = adapt(loaded, options=options)
        return replace(loaded, labels=classes)
    options = model_options(wanted, config_of(wanted.name))
    model = create(wanted.name, num_classes=len(classes), image_size=wanted.image_size, options=options)
    return LoadedModel(model, architecture_of(wanted.name), classes, fresh_preprocessing(model))


def model_options(wanted: ModelConfig, model_config: Any) -> dict[str, Any]:
    """The run's regularisation as fields of this model's config; what a model does not have must not be asked for.

    The recipes ask for stochastic depth, which networks without it leave out.
    """
    in_blocks = is_dataclass(getattr(model_config, "block", None))
    options: dict[str, Any] = {"block.dropout" if in_blocks else "dropout": wanted.dropout} if wanted.dropout else {}
    if hasattr(model_config, "drop_path"):
        options["drop_path"] = wanted.drop_path
    return {**options, **wanted.options}


def fresh_preprocessing(model: Model) -> Preprocessing:
    """For a model that has seen nothing yet: values in [-1, 1]; small images are used to their edge."""
    size, channels = model.config.image_size, model.config.in_channels
    half = (0.5,) * channels
    return Preprocessing(size, crop_pct=0.875 if min(size) >= 128 else 1.0, channels=channels, mean=half, std=half)
