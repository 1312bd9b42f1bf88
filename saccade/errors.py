"""Errors caused by users' input. Each message states what is wrong, where, and what to do."""


class SaccadeError(Exception):
    """Base of every error that the command line prints as one line (exit code 1)."""


class ConfigError(SaccadeError):
    """An option, a configuration key or a name does not exist or does not fit (exit code 2)."""


class OptionError(ConfigError):
    """An option of a model does not exist or does not fit; the message begins with its name, dotted in nested configs.

    Attributes:
        option: the name.
        problem: the rest of the message.
    """

    def __init__(self, option: str, problem: str):
        super().__init__(f"{option} {problem}")
        self.option, self.problem = option, problem


class DataError(SaccadeError):
    """A data set, a file list or a label is missing or invalid."""


class UnmatchedClassesError(DataError):
    """The classes of a data set are not the model's: it cannot be measured, though it can read the images."""


class ImageError(DataError):
    """One image cannot be read: truncated, too large, not an image, an unsupported format."""


class CheckpointError(SaccadeError):
    """A weights file or model directory cannot be read, matched to a model, or verified."""


class MeasurementError(SaccadeError):
    """A model cannot be measured, or its outputs are not finite."""


class TrainingError(SaccadeError):
    """Training cannot continue: a non-finite loss, a full disk, a run that cannot be resumed."""


class InterventionError(SaccadeError):
    """An intervention is impossible: unknown layers, or patches that a model cannot hide."""


class RecordingError(SaccadeError):
    """A recording is impossible: unknown layers, or more bytes than the budget."""
