"""The application of a process, with its models and its log."""

import logging
import sys

from starlette.applications import Starlette

from saccade.serving.app import make_app
from saccade.serving.served_model import ServedModel
from saccade.serving.settings import ServerSettings
from saccade.tasks.loading import load


def load_app(settings: ServerSettings) -> Starlette:
    """The application, with every model loaded and run once.

    Raises:
        SaccadeError: a model cannot be opened, or has no prediction for a single input.
    """
    models = []
    for name, path in settings.models.items():
        predictor = load(path, device=settings.device, image_size=settings.image_size, options=settings.options)
        models.append(ServedModel(name, predictor))
        models[-1].warm_up()
    return make_app(settings, models)


def start_log() -> None:
    """Log one line per request on stderr."""
    log = logging.getLogger("saccade.serving")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
