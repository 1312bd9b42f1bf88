"""The reliability score of the displayed map."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from saccade.analysis.image_maps import class_number
from saccade.analysis.map_score import RANDOM_MAPS, STEPS, score_map
from saccade.errors import ConfigError, RecordingError
from saccade.explorer.change import Change
from saccade.explorer.recording import read_inputs
from saccade.explorer.session import Session

SHOWS = ("head", "mean", "max", "rollout", "relevance")
RUNS = 2 * STEPS * (RANDOM_MAPS + 2)  # of the model, about


@dataclass(frozen=True)
class MapView:
    """The displayed map of a recorded run.

    Attributes:
        show: one of :data:`SHOWS`.
        layer, head: layer and head of an attention map.
        query: the token whose row is shown, or "mean".
        label: the class of a relevance map; other maps use the predicted class.
    """

    show: str
    layer: int = 0
    head: int = 0
    query: int | str = 0
    label: str = ""

    def __post_init__(self) -> None:
        if self.show not in SHOWS:
            raise ConfigError(f"there is no map {self.show!r}; there are {', '.join(SHOWS)}")


def score_of(session: Session, model: str, image: str, change: Change, view: MapView) -> dict[str, Any]:
    """Deletion, insertion and SaCo of a map of one image, with those of random maps and a blob.

    Raises:
        ConfigError: the model has no classes, or there is no such class.
        DataError: no such model or image.
        RecordingError: there is no such layer, head or query.
    """
    predictor = session.model(model).predictor
    number = class_number(predictor, view.label or None)
    values = map_of(session, model, image, change, view)
    inputs, _, _ = read_inputs(predictor, session.image(image))
    layout = predictor.model.token_layout((inputs.shape[1], inputs.shape[2]))
    with session.running(), change.applied(predictor.model, layout) if change else nullcontext():
        score = score_map(predictor, inputs[None], values, number)
    return {**score.to_dict(), "label": predictor.labels[score.target]}


def map_of(session: Session, model: str, image: str, change: Change, view: MapView) -> Tensor:
    """The map ``[h, w]`` float32."""
    recording = session.recording(model, image, change)
    stream = next((each for each in recording.streams if each.over_grid), None)
    layout = None if stream is None else stream.keys.layout
    if stream is None or layout is None:
        raise RecordingError("this model has no self-attention over the patches of an image")
    if view.show == "relevance":
        return session.relevance(model, image, view.label, change).unflatten(0, layout.grid)
    if view.show == "rollout":
        row = stream.rollout(view.query).float()
    else:
        rows = stream.rows(view.layer, view.query).float()  # [H, K]
        if view.show == "head" and not 0 <= view.head < len(rows):
            raise ConfigError(f"there is no head {view.head}: they are 0 to {len(rows) - 1}")
        row = {"mean": rows.mean(dim=0), "max": rows.amax(dim=0)}.get(view.show)
        row = rows[view.head] if row is None else row
    return row[len(stream.prefix) :].unflatten(0, layout.grid)
