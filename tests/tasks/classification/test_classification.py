"""Classification against scikit-learn and closed forms."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.errors import ConfigError
from saccade.tasks.classification.exported import ClassificationDecoder
from saccade.tasks.classification.graph import ClassificationGraph
from saccade.tasks.classification.metrics import (
    ClassificationMetrics,
    classification_metrics,
    classification_resampler,
    reliability,
)
from saccade.tasks.classification.results import Classification
from saccade.tasks.classification.setup import class_weights, starting_model
from saccade.tasks.classification.task import ClassificationTask, balanced_weights, correct
from saccade.tasks.contrastive.results import Embedding
from saccade.training.config import resolve

LABELS = ("ant", "bee", "cat")


def batch(labels: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(labels), 1, 1, 1), labels, ("",) * len(labels), torch.arange(len(labels)))


def mean_loss(task: ClassificationTask, logits: torch.Tensor, batch: Batch) -> float:
    """The loss of a model that returns these logits."""
    terms = task.train_step(lambda inputs: logits, batch)  # type: ignore[arg-type]
    return terms.value(task.counts(torch.nn.Identity(), batch)).item()


def test_loss_is_cross_entropy_for_labels_and_for_mixtures() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    task = ClassificationTask(LABELS)
    expected = -(logits.log_softmax(1)[0, 2] + logits.log_softmax(1)[1, 1]) / 2
    assert mean_loss(task, logits, batch(torch.tensor([2, 1]))) == pytest.approx(expected.item())
    mixed = torch.tensor([[0.0, 0.3, 0.7], [0.5, 0.5, 0.0]])
    expected = -(mixed * logits.log_softmax(1)).sum(1).mean()
    assert mean_loss(task, logits, batch(mixed)) == pytest.approx(expected.item())
    assert correct(logits, batch(mixed)).item() == 0


def test_the_smallest_loss_is_reached_by_the_smoothed_target_itself() -> None:
    task = ClassificationTask(LABELS, label_smoothing=0.1)
    target = torch.full((1, 3), 0.1 / 3)
    target[0, 1] += 0.9
    assert mean_loss(task, target.log(), batch(torch.tensor([1]))) == pytest.approx(task.smallest_loss, abs=1e-6)
    assert ClassificationTask(LABELS).smallest_loss == 0
    with pytest.raises(ConfigError):
        ClassificationTask(LABELS, label_smoothing=1.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_equal_pytorchs_weighted_mean(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(7, 3, generator=generator), torch.tensor([0, 0, 0, 0, 1, 1, 2])
    weights = balanced_weights(target, 3)
    np.testing.assert_allclose(
        weights.numpy(), compute_class_weight("balanced", classes=np.arange(3), y=target.numpy()), rtol=1e-6
    )
    task = ClassificationTask(LABELS, label_smoothing=smoothing, class_weights=weights)
    expected = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, target)
    assert mean_loss(task, logits, batch(target)) == pytest.approx(expected.item(), rel=1e-6)
    one_hot = F.one_hot(target, 3).float()
    if not smoothing:  # a mixture of one class is that class
        assert mean_loss(task, logits, batch(one_hot)) == pytest.approx(expected.item(), rel=1e-6)


def test_the_smallest_weighted_loss_is_reached() -> None:
    weights = torch.tensor([0.5, 1.0, 3.0])
    task = ClassificationTask(LABELS, label_smoothing=0.1, class_weights=weights)
    losses = []
    for label in range(3):
        target = torch.full((3,), 0.1 / 3)
        target[label] += 0.9
        best = (target * weights / (target * weights).sum()).log()[None]
        losses.append(mean_loss(task, best, batch(torch.tensor([label]))))
    assert min(losses) == pytest.approx(task.smallest_loss, abs=1e-6)


def test_a_class_without_images_has_no_weight() -> None:
    assert balanced_weights(torch.tensor([0, 0, 2]), 3).tolist() == [0.75, 0.0, 1.5]


def test_weights_of_classes_are_an_option() -> None:
    splits = SimpleNamespace(train=SimpleNamespace(labels=np.array([0, 0, 1])), classes=("ant", "bee"))

    def weights(**changes: object) -> torch.Tensor | None:
        return class_weights(resolve("digits", overrides=changes), splits)  # type: ignore[arg-type]

    assert weights() is None
    assert weights(class_weights="balanced").tolist() == [0.75, 1.5]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="count them twice"):
        weights(**{"class_weights": "balanced", "data.sampling": "balanced"})
    with pytest.raises(ConfigError, match="dpt_small is a model for depth"):
        starting_model(resolve("digits", overrides={"model.name": "dpt_small", "model.options": {}}), LABELS)


def test_decoding_ranks_classes() -> None:
    logits = torch.tensor([[0.0, math.log(6), math.log(3)]])
    inputs = ClassificationTask(LABELS).input_batch([torch.zeros(1, 2, 2)], [(2, 2)], ["x.jpg"])
    (result,) = ClassificationTask(LABELS, top=2).decode(logits, inputs)
    assert (result.name, result.label, result.score) == ("x.jpg", "bee", pytest.approx(0.6))
    assert result.top == (("bee", pytest.approx(0.6)), ("cat", pytest.approx(0.3)))
    assert json.loads(json.dumps(result.to_dict()))["top"][1]["label"] == "cat"
    assert result.rows() == [("x.jpg", 1, "bee", "0.600000"), ("x.jpg", 2, "cat", "0.300000")]
    assert ClassificationTask(LABELS, top=1).decode(logits, inputs)[0].top == (("bee", pytest.approx(0.6)),)
    assert ClassificationTask(LABELS).probabilities(logits)[0].tolist() == pytest.approx([0.1, 0.6, 0.3])
    assert len(ClassificationTask(LABELS, top=9).decode(logits, inputs)[0].top) == 3
    (features,) = ClassificationTask(()).decode(logits, inputs)  # of an encoder without a head
    assert isinstance(features, Embedding)
    assert features.vector.tolist() == logits[0].tolist()


def test_an_exported_graph_gives_probabilities_that_are_measured_as_logits() -> None:
    graph, size = ClassificationGraph(ClassificationTask(LABELS)), torch.zeros(1)
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 300.0, 0.0]])
    outputs = graph.run(lambda images: logits, size, size, size)  # type: ignore[arg-type]
    torch.testing.assert_close(outputs["probabilities"], logits.softmax(1))
    collected = graph.collect(outputs, batch(torch.tensor([2, 0])), {})
    torch.testing.assert_close(collected["logits"][0], logits[0].log_softmax(0))
    assert collected["logits"].isfinite().all()  # probabilities of 0 too
    assert collected["logits"][1, 0] < -80


def test_an_exported_file_ranks_classes_or_gives_features() -> None:
    def decoder(**options: int) -> ClassificationDecoder:
        return ClassificationDecoder(SimpleNamespace(labels=tuple("abcdefg"), options=options))  # type: ignore[arg-type]

    row = np.array([[0.05, 0.4, 0.1, 0.2, 0.15, 0.07, 0.03]])
    (result,) = decoder().decode({"probabilities": row}, ("x.jpg",), ((2, 2),))
    assert isinstance(result, Classification)
    assert (result.name, result.label, result.score) == ("x.jpg", "b", 0.4)
    assert result.top == (("b", 0.4), ("d", 0.2), ("e", 0.15), ("c", 0.1), ("f", 0.07))
    (one,) = decoder(top=1).decode({"probabilities": row}, ("x.jpg",), ((2, 2),))
    assert isinstance(one, Classification)
    assert one.top == (("b", 0.4),)
    with pytest.raises(ConfigError, match="top must be at least 1"):
        decoder(top=0)
    (features,) = decoder().decode({"embedding": row}, ("x.jpg",), ((2, 2),))
    assert isinstance(features, Embedding)
    assert features.vector.tolist() == row[0].tolist()


def test_a_result_is_drawn_below_its_image() -> None:
    inputs = ClassificationTask(LABELS).input_batch([torch.zeros(1, 2, 2)], [(2, 2)], ["x.jpg"])
    (result,) = ClassificationTask(LABELS).decode(torch.tensor([[0.0, 1.0, 2.0]]), inputs)
    image = np.full((40, 60, 3), 90, np.uint8)
    drawn = result.draw(image)
    assert drawn.dtype == np.uint8
    assert (drawn[:200, :200] == 90).all()
    assert (drawn[280:] < 128).any()  # letters
    assert (drawn[280:] == 255).any()


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[3.0, 0, 0], [3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]])
    metrics = ClassificationTask(LABELS).measure(
        Collected({"logits": logits, "target": torch.tensor([0, 1, 1, 2])}, tuple("abcd"))
    )
    assert metrics.accuracy == 0.75
    assert metrics.top5 is None
    assert metrics.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))
    ant, bee, _ = metrics.per_class
    assert (ant.precision, ant.recall, ant.support) == (0.5, 1.0, 1)
    assert (bee.precision, bee.recall, bee.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    confidence = math.exp(3) / (math.exp(3) + 2)
    assert metrics.calibration_error == pytest.approx(abs(confidence - 0.75), abs=1e-6)
    assert metrics.nll == pytest.approx(F.cross_entropy(logits, torch.tensor([0, 1, 1, 2])).item(), abs=1e-6)
    assert ClassificationMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    with pytest.raises(ConfigError, match="no images"):
        ClassificationTask(LABELS).measure(Collected({}, ()))


def test_calibration_error_weighs_bins_by_their_images() -> None:
    confidences, correct = [0.91, 0.92, 0.93, 0.5], [True, True, False, False]
    logits = torch.log(torch.tensor([[c, 1 - c] for c in confidences]))
    target = torch.tensor([0 if right else 1 for right in correct])
    metrics = classification_metrics(logits, target, ("ant", "bee"))
    expected = 3 / 4 * (0.92 - 2 / 3) + 1 / 4 * 0.5  # bins of three images and of one
    assert metrics.calibration_error == pytest.approx(expected, abs=1e-6)
    assert [count for *_, count in metrics.reliability] == [1, 3]


def test_label_smoothing_stays_out_of_what_is_measured() -> None:
    logits, target = torch.tensor([[4.0, 0.0, 1.0], [0.0, 3.0, 0.5]]), torch.tensor([0, 1])
    measured = []
    for smoothing in (0.0, 0.3):
        task = ClassificationTask(LABELS, label_smoothing=smoothing)
        measured.append(task.measure(Collected(task.collect(logits, batch(target)), ("a", "b"))))
    assert measured[0] == measured[1]
    assert measured[0].nll == pytest.approx(F.cross_entropy(logits, target).item(), abs=1e-6)


def test_the_metrics_of_a_draw_are_the_metrics_of_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(40, 7, generator=generator), torch.randint(6, (40,), generator=generator)
    logits[torch.arange(40), target] += 1
    target[target == 4] = 3  # in these images class 4 is predicted and never there, 5 never predicted, 6 neither
    logits[:, 5:] = -9.0
    draw = torch.randint(20, (40,), generator=generator)
    metrics = classification_metrics(logits[draw], target[draw], "abcdefg")
    assert classification_resampler(logits, target, 7)(draw) == pytest.approx(
        {
            "accuracy": metrics.accuracy, "negative log likelihood": metrics.nll, "top-5": metrics.top5,
            "calibration error": metrics.calibration_error, "macro precision": metrics.macro_precision,
            "macro recall": metrics.macro_recall, "macro F1": metrics.macro_f1,
        }
    )  # fmt: skip


def test_the_metrics_of_one_image() -> None:
    logits, target = torch.tensor([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.tensor([0, 1])
    assert classification_metrics(logits[:1], target[:1], LABELS).accuracy == 1
    draws = [classification_resampler(logits, target, 3)(torch.tensor([index])) for index in range(2)]
    macros = ("macro precision", "macro recall", "macro F1", "accuracy")
    assert [[draw[name] for name in macros] for draw in draws] == [[1.0] * 4, [0.0] * 4]


def test_the_table_has_the_classes_that_occur_and_their_confusion() -> None:
    logits = torch.eye(3)[torch.tensor([0, 1, 1])]
    whole = (
        classification_metrics(logits, torch.tensor([0, 1, 2]), ("ant", "a longer name", "cat")).table().splitlines()
    )
    assert [line.split() for line in whole[1:5]] == [
        ["ant", "100.0%", "100.0%", "100.0%", "1"],
        ["a", "longer", "name", "50.0%", "100.0%", "66.7%", "1"],
        ["cat", "0.0%", "0.0%", "0.0%", "1"],
        ["mean", "50.0%", "66.7%", "55.6%"],
    ]
    assert [line.split()[-3:] for line in whole[-3:]] == [["1", ".", "."], [".", "1", "."], [".", "1", "."]]
    assert len({len(line) for line in whole[:4]}) == 1  # columns
    part = classification_metrics(logits, torch.tensor([0, 1, 1]), LABELS).table()
    assert "cat" not in part
    assert part.startswith("class  precision  recall     F1  images\n")
    assert "confusion" not in part
    many = classification_metrics(torch.eye(21), torch.arange(21), tuple(map(str, range(21)))).table()
    assert "confusion" not in many
    assert "confusion" in classification_metrics(torch.eye(20), torch.arange(20), tuple(map(str, range(20)))).table()


def test_top_five() -> None:
    logits = torch.arange(8.0).repeat(2, 1)
    metrics = classification_metrics(logits, torch.tensor([3, 2]), [str(i) for i in range(8)])
    assert metrics.top5 == 0.5
    for count, is_there in ((5, False), (6, True)):  # of five classes all are among five
        logits, target = torch.eye(count), torch.arange(count)
        assert (classification_metrics(logits, target, "abcdef"[:count]).top5 is not None) == is_there
        assert ("top-5" in classification_resampler(logits, target, count)(target)) == is_there


def test_reliability_bins() -> None:
    bins = reliability(torch.tensor([0.05, 0.06, 0.99, 1.0]), torch.tensor([True, False, True, True]))
    assert bins == ((pytest.approx(0.055), 0.5, 2), (pytest.approx(0.995), 1.0, 2))
