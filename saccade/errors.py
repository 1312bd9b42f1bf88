"""The errors that a person can cause and mend. Each message says what was wrong, where, and what to do."""


class SaccadeError(Exception):
    """Base of every error that the command line prints as one line (exit code 1)."""


class ConfigError(SaccadeError):
    """An option, a configuration key or a name does not exist or does not fit (exit code 2)."""


class DataError(SaccadeError):
    """A data set, a file list or a label cannot be used as asked."""


class ImageError(DataError):
    """One image cannot be read: truncated, too large, not an image, an unsupported format."""


class CheckpointError(SaccadeError):
    """A weights file or model directory cannot be read, placed or verified."""


class TrainingError(SaccadeError):
    """Training cannot go on: a non-finite loss, a full disk, a run that cannot be resumed."""


class RecordingError(SaccadeError):
    """A recording was asked for that cannot be made: unknown layers, or more bytes than the budget."""
