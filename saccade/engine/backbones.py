"""The model at step 0 of a run that trains a backbone with a head on one feature vector per image."""

from dataclasses import is_dataclass, replace
from typing import Any

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt, load_model
from saccade.checkpoints.pretrained import as_classifier, is_pretrained
from saccade.data.seeding import RandomStream, mix_seed
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError
from saccade.models.backbone import WithBackbone
from saccade.models.zoo import architecture_of, config_of, create


def starting_backbone(config: Any, labels: tuple[str, ...]) -> LoadedModel:
    """A backbone with fresh weights, or a checkpoint; with one output for each label.

    Args:
        config: config of the run; a checkpoint with other labels, or of another task, gets a new head.
        labels: names of the outputs.

    Raises:
        ConfigError: the checkpoint is of another family, or does not record its preprocessing.
    """
    options = config.model
    torch.manual_seed(mix_seed(config.seed, 0, RandomStream.WEIGHTS))
    if not options.init:
        changes = model_options(options, config_of(options.name))
        try:
            model = create(
                options.name, num_classes=len(labels), image_size=options.image_size,
                in_channels=options.in_channels, options=changes,
            )  # fmt: skip
        except ValueError as error:  # a size or an option that this model cannot have
            raise ConfigError(f"{options.name}: {error}") from None
        architecture = architecture_of(options.name)
        return LoadedModel(model, architecture, labels, fresh_preprocessing(model), task=config.task)
    loaded = load_model(options.init, image_size=options.image_size)
    if is_pretrained(loaded):
        loaded = as_classifier(loaded)
    if isinstance(loaded.model.config, WithBackbone) or loaded.model.config.image_size is None:
        raise ConfigError(
            f"{options.init} is a {loaded.architecture}, which has no vector of an image for a new head: --init takes "
            f"an image classifier or a pre-trained image encoder for {config.task}"
        )
    changes = model_options(options, loaded.model.config)
    if loaded.preprocessing is None:
        raise ConfigError(f"{options.init} does not record how images are prepared for it")
    if loaded.labels != labels or loaded.task != config.task:  # also where only the names of the labels differ
        loaded = adapt(adapt(loaded, num_classes=0), num_classes=len(labels))
    loaded = adapt(loaded, in_channels=options.in_channels, options=changes)
    return replace(loaded, labels=labels, task=config.task, task_state={})


def model_options(options: Any, model_config: Any) -> dict[str, Any]:
    """The run's regularisation (`options`, its section `model`) as fields of this model's config.

    Recipes set stochastic depth, which is ignored for networks without it; dropout is an error for them.
    """
    in_blocks = is_dataclass(getattr(model_config, "block", None))
    changes: dict[str, Any] = {"block.dropout" if in_blocks else "dropout": options.dropout} if options.dropout else {}
    if hasattr(model_config, "drop_path"):
        changes["drop_path"] = options.drop_path
    return {**changes, **options.options}
