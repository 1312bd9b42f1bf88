"""Long measurements: one at a time, with progress, stopped on request."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saccade.analysis.attention_distance import measure_attention_distance
from saccade.analysis.importance import Importance, measure_dependence, measure_importance
from saccade.analysis.inputs import ImageBatches, open_images
from saccade.analysis.result import to_plain
from saccade.data.samples import Batch
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError, SaccadeError
from saccade.explorer.about import distance_dict
from saccade.explorer.recording import OpenImage, read_inputs
from saccade.explorer.session import Session

Advance = Callable[[int, int], None]
MAX_DATA = 10_000  # images of a data set in one measurement
MAX_RESULTS = 20  # results


class StopRequest(Exception):  # noqa: N818
    """A measurement was stopped."""


@dataclass
class Measurement:
    """A measurement.

    Attributes:
        key: model, kind and images of the measurement.
        state: "running", "done", "stopped" or "failed".
        done, total: steps.
        result: result as JSON values, once it is done.
        error: error message if it failed.
    """

    key: Mapping[str, Any]
    state: str = "running"
    done: int = 0
    total: int = 0
    result: dict[str, Any] | None = None
    error: str = ""
    stopping: threading.Event = field(default_factory=threading.Event, repr=False)

    def describe(self) -> dict[str, Any]:
        """The measurement as JSON values."""
        return {
            "key": dict(self.key), "state": self.state, "done": self.done, "total": self.total,
            "result": self.result, "error": self.error,
        }  # fmt: skip


class Measurements:
    """The measurements of a session.

    Runs requested by the page have priority between two steps, so that the page stays responsive.
    """

    def __init__(self, session: Session):
        self.session = session
        self._last: list[Measurement] = []  # the newest last
        self._lock = threading.Lock()

    def list(self) -> list[Measurement]:
        """The newest of each key, the oldest first."""
        with self._lock:
            return list(self._last)

    def start(self, model: str, kind: str, images: str, limit: int) -> Measurement:
        """Start measuring.

        Args:
            model: key of the model.
            kind: "distance" or "importance".
            images: "here", those of the page; or "data", the data set of the session.
            limit: maximum number of images of the data set.

        Raises:
            ConfigError: no such kind or images, the limit is out of range, or another measurement runs.
            DataError: no such model.
        """
        if kind not in KINDS:
            raise ConfigError(f"there is no measurement {kind!r}; there are {', '.join(KINDS)}")
        if images not in KINDS[kind]:
            raise ConfigError(f"there are no images {images!r}; there are {', '.join(KINDS[kind])}")
        if images == "data" and self.session.data is None:
            raise ConfigError("there is no data set: start the explorer with --data to measure on one")
        if not 2 <= limit <= MAX_DATA:
            raise ConfigError(f"measure on 2 to {MAX_DATA} images of the data set, not {limit}")
        predictor = self.session.model(model).predictor
        key = {"model": model, "kind": kind, "images": images}
        measurement = Measurement(key if images == "here" else {**key, "limit": limit})
        with self._lock:
            if any(one.state == "running" for one in self._last):
                raise ConfigError("another measurement runs: wait for it, or stop it")
            others = [one for one in self._last if one.key != measurement.key]
            self._last = [*others[-MAX_RESULTS:], measurement]
        threading.Thread(target=self._run, args=(measurement, predictor, limit), daemon=True).start()
        return measurement

    def stop(self) -> None:
        """Stop the current measurement at its next step, if there is one."""
        for one in self.list():
            one.stopping.set()

    def _run(self, measurement: Measurement, predictor: Predictor, limit: int) -> None:
        def advance(done: int, total: int) -> None:
            measurement.done, measurement.total = done, total
            if measurement.stopping.is_set():
                raise StopRequest
            self.session.give_way()

        try:
            with self.session.running():
                where = str(measurement.key["images"])
                images = self._images(predictor, where, limit)
                measurement.result = KINDS[str(measurement.key["kind"])][where](predictor, images, advance)
            measurement.state = "done"
        except StopRequest:
            measurement.state = "stopped"
        except (SaccadeError, RuntimeError) as error:  # RuntimeError: out of memory
            measurement.state, measurement.error = "failed", str(error)
        finally:
            if measurement.state == "running":  # a defect, whose traceback the thread prints
                measurement.state, measurement.error = "failed", "an error; the explorer's terminal has the details"

    def _images(self, predictor: Predictor, images: str, limit: int) -> ImageBatches:
        if images == "data":
            assert self.session.data is not None
            return open_images(predictor, self.session.data, limit=limit, batch_size=16, workers=0)
        opened = self.session.all_images()
        if not opened:
            raise ConfigError("there are no images on the page")
        return ImageBatches(batches_of(predictor, opened), len(opened), f"the {len(opened)} images of the page")


def measure_distances(predictor: Predictor, images: ImageBatches, advance: Advance) -> dict[str, Any]:
    """Attention distance over images."""
    measured = measure_attention_distance(predictor, images, on_images=advance)
    layout = predictor.model.token_layout(predictor.model.config.image_size)
    return {"sets": [{**distance_dict(measured, layout), "stream": "", "title": "patches", "unit": "pixels"}]}


def measure_by_targets(predictor: Predictor, images: ImageBatches, advance: Advance) -> dict[str, Any]:
    """Importance of heads and blocks by the metric of the task, on images with targets."""
    return importance_dict(measure_importance(predictor, images, on_parts=advance))


def measure_by_output(predictor: Predictor, images: ImageBatches, advance: Advance) -> dict[str, Any]:
    """Importance of heads and blocks for the model's own prediction."""
    return importance_dict(measure_dependence(predictor, images, on_parts=advance))


def importance_dict(importance: Importance) -> dict[str, Any]:
    """The numbers by layer and head, and by block."""
    values = importance.to_dict()
    paths, changes = importance.heads()
    return {**values, "layers": paths, "heads": to_plain(changes)}


def batches_of(predictor: Predictor, images: Sequence[OpenImage]) -> Iterator[Batch]:
    """Prepared images, one in a batch, since their shapes may differ."""
    for image in images:
        inputs, _, original = read_inputs(predictor, image)
        yield predictor.task.input_batch([inputs], [original], [image.name])


Measure = Callable[[Predictor, ImageBatches, Advance], dict[str, Any]]
KINDS: dict[str, dict[str, Measure]] = {  # kind -> images -> how
    "distance": {"here": measure_distances, "data": measure_distances},
    "importance": {"here": measure_by_output, "data": measure_by_targets},
}
