"""A run's own copy of the checkpoint that it started from, so that it can be resumed without the original file."""

from dataclasses import replace
from pathlib import Path

from saccade.checkpoints.directory import is_model_dir, save_model_dir
from saccade.engine.setup import OWN, TrainingSetup
from saccade.training.config import RunConfig
from saccade.training.run_directory import RunDirectory


def save_start(run: RunDirectory, config: RunConfig, setup: TrainingSetup) -> None:
    """Write the run's copy once; a run with fresh weights has none."""
    if config.model.init and setup.start.architecture != OWN and not run.start.exists():
        save_model_dir(run.start, setup.start)


def config_of_setup(config: RunConfig, run: RunDirectory | None) -> RunConfig:
    """The config for setting up a run, with the run's copy in place of a checkpoint that no longer exists.

    All weights come from the run's last checkpoint afterwards; the copy has the architecture, labels and preprocessing.
    """
    init = config.model.init
    if run is None or not init or Path(init).exists() or not is_model_dir(run.start):
        return config
    return replace(config, model=replace(config.model, init=str(run.start)))
