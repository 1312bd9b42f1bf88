"""Distillation: its formulas, α = 0 against plain training to the bit, a teacher of another kind, two heads."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.data.builtin.digits import digits_splits
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.models.deit import DistilledViT
from saccade.tasks.classification.distillation import DistillationTask
from saccade.tasks.classification.setup import make_task
from saccade.tasks.classification.task import ClassificationTask
from saccade.tasks.classification.teacher import Teacher
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train

LABELS = tuple("abc")
STUDENT = Preprocessing((8, 8), "exact", 1.0, channels=1, mean=(0.5,), std=(0.5,))
QUICK = {
    "model.name": "vit_digits",
    "schedule.steps": 8,
    "preflight": False,
    "data.check": "off",
    "batch_size": 32,
    "ema": 0.0,
}


def batch() -> Batch:
    return Batch(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), tuple("wxyz"), torch.arange(4))


def said(images: Tensor) -> Tensor:
    return torch.linspace(-1, 2, 12).reshape(4, 3)


def teacher_dir(folder: Path, labels: tuple[str, ...] = tuple("0123456789")) -> Path:
    """A convolutional teacher of another size, with fresh weights."""
    torch.manual_seed(0)
    net = saccade.create("lenet", num_classes=len(labels))
    save_model_dir(
        folder, LoadedModel(net, "lenet", labels, Preprocessing((32, 32), channels=1, mean=(0.2,), std=(0.3,)))
    )
    return folder


def run(folder: Path, name: str, **overrides) -> dict[str, Tensor]:
    config = resolve("digits", overrides={**QUICK, **overrides})
    train(config, RunDirectory.create(config, folder / name))
    return load_file(folder / name / "model" / "model.safetensors")


def mean_loss(task: DistillationTask, logits: Tensor, one: Batch) -> Tensor:
    """The loss of a model that returns these logits."""
    terms = task.train_step(lambda images: logits, one)  # type: ignore[arg-type]
    return terms.value(task.counts(torch.nn.Identity(), one)).float()


def test_hard_and_soft_by_their_formulas() -> None:
    one, logits, teacher = batch(), torch.randn(4, 3), said(torch.empty(0))
    label = F.cross_entropy(logits, one.labels)
    hard = DistillationTask(LABELS, said, kind="hard", alpha=0.5)
    torch.testing.assert_close(
        mean_loss(hard, logits, one), 0.5 * label + 0.5 * F.cross_entropy(logits, teacher.argmax(1))
    )
    soft = DistillationTask(LABELS, said, kind="soft", alpha=0.1, temperature=3.0)
    p, q = (teacher / 3).softmax(1), (logits / 3).softmax(1)
    divergence = (p * (p / q).log()).sum(dim=1).mean()
    torch.testing.assert_close(mean_loss(soft, logits, one), 0.9 * label + 0.1 * 9 * divergence)
    assert soft.distance(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_two_heads_learn_from_two_sources() -> None:
    one = batch()
    heads = [torch.randn(4, 3, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    heads[0] += 2 * F.one_hot(one.labels, 3)
    heads[1] += 9 * F.one_hot(torch.tensor([0, 1, 2, 1]), 3)  # three right ones, that the mean follows
    heads = tuple(head.requires_grad_() for head in heads)
    task = DistillationTask(LABELS, said, alpha=0.5, heads=lambda model, images: heads)
    terms = task.train_step(torch.nn.Identity(), one)
    terms.value(task.counts(torch.nn.Identity(), one)).backward()
    probabilities = [h.detach().softmax(dim=1) for h in heads]
    targets = [F.one_hot(one.labels, 3), F.one_hot(said(one.inputs).argmax(1), 3)]
    for head, p, target in zip(heads, probabilities, targets):
        torch.testing.assert_close(head.grad, 0.5 * (p - target) / 4)
    assert terms.metrics["accuracy"].total == 3
    assert terms.metrics["accuracy"].total == ((heads[0] + heads[1]).argmax(1) == one.labels).sum()


def test_without_a_share_the_teacher_is_not_asked_and_training_is_plain(tmp_path: Path) -> None:
    teacher = str(teacher_dir(tmp_path / "teacher"))
    plain = run(tmp_path, "plain")
    none = run(tmp_path, "none", **{"distillation.teacher": teacher, "distillation.alpha": 0.0})
    some = run(tmp_path, "some", **{"distillation.teacher": teacher, "distillation.alpha": 0.5})
    assert all(torch.equal(plain[name], none[name]) for name in plain)
    assert not all(torch.equal(plain[name], some[name]) for name in plain)

    def never(images: Tensor) -> Tensor:
        raise AssertionError("run")

    assert math.isfinite(mean_loss(DistillationTask(LABELS, never, alpha=0.0), torch.randn(4, 3), batch()).item())


def test_without_a_share_the_teachers_head_has_a_gradient_of_zero() -> None:
    one, heads = batch(), (torch.randn(4, 3), torch.zeros(4, 3, requires_grad=True))
    task = DistillationTask(LABELS, said, alpha=0.0, temperature=0.5, heads=lambda model, images: heads)
    terms = task.train_step(torch.nn.Identity(), one)
    loss = terms.value(task.counts(torch.nn.Identity(), one))
    loss.backward()
    assert loss.item() == pytest.approx(F.cross_entropy(heads[0], one.labels).item())
    assert heads[1].grad is not None
    assert (heads[1].grad == 0).all()
    assert (terms.loss["teacher"].total, terms.loss["teacher"].weight) == (0, 0)


def test_the_smallest_loss_is_the_labels_share_of_it() -> None:
    plain = ClassificationTask(LABELS, label_smoothing=0.1).smallest_loss
    task = DistillationTask(LABELS, said, alpha=0.25, label_smoothing=0.1)
    assert task.smallest_loss == pytest.approx(0.75 * plain)


def test_a_teacher_gets_its_own_size_statistics_and_channels(tmp_path: Path) -> None:
    """What it is shown is what its own preprocessing would have made of the picture."""
    torch.manual_seed(0)
    net = saccade.create("vit_ti16", num_classes=12, image_size=32, options={"depth": 1})
    own = Preprocessing((32, 32), "exact", 1.0, "bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    save_model_dir(tmp_path / "t", LoadedModel(net, "vit", tuple("9876543210xy"), own))
    teacher = Teacher(tmp_path / "t", tuple("0123456789"), STUDENT, torch.device("cpu"))
    picture = digits_splits().train.image(0)
    student = STUDENT(picture)[None]
    expected = own(own.convert_mode(picture))[None]
    assert (teacher.translated(student) - expected).abs().max() < 2 / 255 / 0.4  # rounding to 256 levels
    answers = teacher(student)
    assert answers.shape == (1, 10)
    torch.testing.assert_close(answers[:, 0], teacher.model(teacher.translated(student))[:, 9])  # "0" is its tenth
    assert not any(p.requires_grad for p in teacher.model.parameters())
    large = Preprocessing((64, 64), "exact", 1.0, mean=(0.5,) * 3, std=(0.5,) * 3)  # of a student that sees colours
    colours = torch.rand(1, 3, 64, 64)
    smaller = F.interpolate(colours, (32, 32), mode="bilinear", antialias=True)
    shown = Teacher(tmp_path / "t", ("0",), large, torch.device("cpu")).translated(large.standardise(colours))
    torch.testing.assert_close(shown, own.standardise(smaller))
    with pytest.raises(ConfigError, match="has no class cat"):
        Teacher(tmp_path / "t", ("0", "cat"), STUDENT, torch.device("cpu"))


@pytest.mark.long
def test_a_student_comes_to_agree_with_its_teacher(tmp_path: Path) -> None:
    """With α = 1 the labels do not count: a student of a teacher that was taught wrong labels repeats them."""
    wrong = tuple("1234567890")  # the teacher calls every digit by the name of the next
    config = resolve("digits", overrides={**QUICK, "schedule.steps": 500, "optimizer.lr": 2e-3})
    train(config, RunDirectory.create(config, tmp_path / "t"))
    taught = saccade.load(tmp_path / "t").source
    save_model_dir(tmp_path / "liar", LoadedModel(taught.model, "vit", wrong, taught.preprocessing))
    distilled = {"distillation.teacher": str(tmp_path / "liar"), "distillation.alpha": 1.0}
    run(tmp_path, "student", **{"schedule.steps": 500, "optimizer.lr": 2e-3}, **distilled)
    student, liar = saccade.load(tmp_path / "student"), saccade.load(tmp_path / "liar")
    test = digits_splits().test
    assert test is not None
    pictures = [test.image(i) for i in range(0, 360, 3)]
    pairs = list(zip(student.predict(pictures), liar.predict(pictures)))
    assert sum(a.label == b.label for a, b in pairs) / len(pairs) > 0.7


def test_a_distillation_token_is_trained_by_the_teacher(tmp_path: Path) -> None:
    teacher = str(teacher_dir(tmp_path / "teacher"))
    small = {"depth": 1, "in_channels": 1, "patch_size": [2, 2]}
    small |= {"block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 32}
    options = {"model.name": "deit_ti16", "model.image_size": [8, 8], "model.options": small}
    config = resolve("digits", overrides={**QUICK, **options, "distillation.teacher": teacher})
    result = train(config, RunDirectory.create(config, tmp_path / "run"))
    assert result.metrics is not None
    predictor = saccade.load(tmp_path / "run")
    assert isinstance(predictor.model, DistilledViT)
    label, told = predictor.model.logits(torch.randn(1, 1, 8, 8))
    assert not torch.allclose(label, told)
    task = make_task(config, predictor.source, torch.device("cpu"))
    assert isinstance(task, DistillationTask)
    for model in (predictor.model.train(), predictor.model.eval()):
        assert isinstance(model(torch.randn(2, 1, 8, 8)), Tensor)
        assert isinstance(model(torch.randn(2, 1, 8, 8), return_both_heads=True), tuple)


def test_limits() -> None:
    with pytest.raises(ConfigError, match="alpha"):
        DistillationTask(LABELS, said, alpha=1.5)
    with pytest.raises(ConfigError, match="temperature"):
        DistillationTask(LABELS, said, temperature=0)
