"""A model whose outputs are NaN or infinite for some input is not measured, whatever its task, and predicts nothing."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import eval_batches
from saccade.data.builtin.digits import digits_splits
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.collect import collect
from saccade.engine.features import extract
from saccade.engine.finite import floating_tensors, require_finite
from saccade.engine.predictor import Predictor
from saccade.engine.setup import TrainingSetup
from saccade.errors import MeasurementError
from saccade.tasks import table
from saccade.tasks.loading import predictor_of
from tests.golden.cases import CASES, config_of

OF_IMAGES = (
    "classify", "regression", "detect_detr", "detect_masks", "detect_yolo", "depth", "depth_ssi", "segment", "contrast",
    "translate_strips", "pretrain_pixels", "pretrain_colours", "multilabel",
)  # fmt: skip
OF_TEXTS = ("translate_texts", "words")


def setup_of(name: str) -> TrainingSetup:
    torch.manual_seed(0)
    config = config_of(name)
    return table.room(config.task).setup(config, torch.device("cpu"))


def first_batch(setup: TrainingSetup) -> Batch:
    dataset = setup.test or setup.val
    assert dataset is not None
    return next(iter(eval_batches(dataset, 4, workers=0)))


def test_every_task_is_tested() -> None:
    assert {config_of(name).task for name in OF_IMAGES + OF_TEXTS} == set(table.TASKS)
    assert set(OF_IMAGES + OF_TEXTS) <= {*CASES, "multilabel"}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_nan_for_one_image_stops_the_measurement_with_its_name(name: str) -> None:
    setup = setup_of(name)
    batch = first_batch(setup)
    model, task = setup.start.model, setup.task
    assert len(collect(model, [batch], "cpu", task)) == 4
    inputs = batch.inputs.clone()
    inputs[1] = torch.nan
    with pytest.raises(MeasurementError, match="NaN") as error:
        collect(model, [batch._replace(inputs=inputs)], "cpu", task)
    named = [name for name in batch.names if str(name) in str(error.value)]
    assert named == [batch.names[1]]


@pytest.mark.parametrize("name", OF_TEXTS)
def test_nan_of_weights_stops_the_measurement_of_texts(name: str) -> None:
    setup = setup_of(name)
    batch = first_batch(setup)
    with torch.no_grad():
        next(setup.start.model.parameters()).fill_(torch.nan)
    with pytest.raises(MeasurementError, match="NaN"):
        collect(setup.start.model, [batch], "cpu", setup.task)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_nothing_is_generated_from_weights_that_are_nan(num_beams: int) -> None:
    source = setup_of("translate_texts").start
    with torch.no_grad():
        next(source.model.parameters()).fill_(torch.nan)
    translator = Predictor(source, table.room("seq2seq"), options={"num_beams": num_beams})
    with pytest.raises(MeasurementError, match="NaN for one two;"):
        translator.predict(["one two"])


class Overflow:
    """Finite outputs of which the collected tensors are not."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.inputs)

    def collect(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"half": (1e6 * (1 + outputs.abs())).half()}


def test_collected_tensors_are_checked_too() -> None:
    batch = Batch(torch.ones(2, 3), torch.zeros(2), ("a.png", "b.png"), torch.arange(2))
    with pytest.raises(MeasurementError, match=r"infinite for a\.png, b\.png"):
        collect(nn.Linear(3, 1), [batch], "cpu", Overflow())


def test_outputs_of_any_form() -> None:
    @dataclasses.dataclass
    class Output:
        logits: Tensor
        masks: Tensor | None = None

    bad = torch.tensor([[0.0], [torch.inf]])
    outputs: Any
    for outputs in (bad, (None, bad), {"a": [torch.zeros(2), bad]}, Output(torch.zeros(2), bad)):
        with pytest.raises(MeasurementError, match=r"infinite for second;"):
            require_finite(outputs, ("first", "second"))
    with pytest.raises(MeasurementError, match="NaN of this batch: first, second;"):
        require_finite(torch.tensor(torch.nan), ("first", "second"))
    require_finite((torch.zeros(2), torch.tensor([1]), "text", None), ("first", "second"))
    assert len(list(floating_tensors((torch.zeros(2), torch.tensor([1]), Output(bad))))) == 2


def broken() -> Any:
    net = saccade.create("vit_digits")
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    preprocessing = Preprocessing((8, 8), "exact", 1.0, channels=1, mean=(0.5,), std=(0.5,))
    return predictor_of(LoadedModel(net, "vit", tuple("0123456789"), preprocessing))


def test_nothing_is_predicted_or_probed(tmp_path: Path) -> None:
    splits = digits_splits()
    assert splits.test is not None
    with pytest.raises(MeasurementError, match="for image 0, image 1;"):
        broken().predict([splits.test.image(0), splits.test.image(1)])
    with pytest.raises(MeasurementError, match="NaN"):
        extract(broken(), splits.test, splits.fingerprint, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
