"""Several labels an image: what each layout means, losses and metrics, the whole way of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

import saccade
from saccade.cli.main import main
from saccade.data.config import DataConfig
from saccade.data.samples import Batch, DataSplits
from saccade.engine.collect import Collected
from saccade.errors import ConfigError, DataError
from saccade.tasks.multilabel.check import check_multilabel
from saccade.tasks.multilabel.metrics import MultiLabelMetrics, best_thresholds, multilabel_metrics
from saccade.tasks.multilabel.sources import open_multilabel
from saccade.tasks.multilabel.task import MultiLabelTask, positive_weights, thresholds_of

WHOLE = DataConfig(test_fraction=0.0, val_fraction=0.0)


def save_image(path: Path, seed: int, left: bool = False, right: bool = False) -> None:
    """Noise of 8 x 8, with a bright left half, a bright right half, or both."""
    pixels = np.random.default_rng(seed).integers(0, 60, (8, 8)).astype(np.uint8)
    pixels[:, :4] += 180 * left
    pixels[:, 4:] += 180 * right
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_table(folder: Path, header: str, rows: list[str]) -> str:
    for row in rows:
        save_image(folder / row.split(",")[0], len(row))
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder / "labels.csv")


def labels_of(splits: DataSplits) -> dict[str, set[str]]:
    train = splits.train
    return {
        name: {splits.classes[k] for k in np.flatnonzero(row)}
        for name, row in zip(train.names, train.targets)  # type: ignore[attr-defined]
    }


RIGHT = {"1.png": {"cat", "dog"}, "2.png": {"dog"}, "3.png": set(), "4.png": {"polar bear"}}


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("file,labels", ["1.png,cat;dog", "2.png,dog", "3.png,", "4.png,polar bear"]),
        ("image,tags", ["1.png,cat | dog", "2.png,dog", "3.png,", "4.png,polar bear"]),
        ("Image Index,Finding Labels", ["1.png,cat|dog", "2.png,dog|", "3.png,", "4.png,polar bear"]),
        ("file,label", ['1.png,"cat, dog"', "2.png,dog", "3.png,", "4.png,polar bear"]),
        ("filename,cat,dog,polar bear", ["1.png,1,1,0", "2.png,0,1,0", "3.png,0,0,0", "4.png,0,0,1"]),
        ("file,label", ["1.png,cat;", "1.png,dog", "2.png,dog", "3.png,", "4.png,polar bear"]),
    ],
)
def test_tables(header: str, rows: list[str], tmp_path: Path) -> None:
    splits = open_multilabel(write_table(tmp_path, header, rows), WHOLE)
    assert splits.classes == ("cat", "dog", "polar bear")
    assert labels_of(splits) == RIGHT


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("true", "false"), ("True", "False")])
def test_spellings_of_a_flag(yes: str, no: str, tmp_path: Path) -> None:
    table = write_table(tmp_path, "file,cat,dog", [f"1.png,{yes},{no}", f"2.png,{no},{yes}", f"3.png,{no},{no}"])
    assert labels_of(open_multilabel(table, WHOLE)) == {"1.png": {"cat"}, "2.png": {"dog"}, "3.png": set()}


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("file,cat,dog", ["1.png,1,1", "2.png,0,maybe"], "line 3: the column dog must hold 0 or 1, not 'maybe'"),
        ("file,labels", ["1.png,a;b", "2.png,a|b"], "one of them only"),
        ("file,labels", ["1.png,polar bear", "2.png,a"], "line 2: 'polar bear' can be one label or several"),
        ("file,weight", ["1.png,heavy"], "needs a column labels or label or tags"),
        ("file,labels", ["1.png,", "2.png,"], "no image with a label"),
    ],
)
def test_what_a_table_cannot_mean(header: str, rows: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        open_multilabel(write_table(tmp_path, header, rows), WHOLE)


def test_a_missing_image_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_table(tmp_path, "file,labels", ["1.png,a;b", "2.png,a"])
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"line 3: there is no 2\.png"):
        open_multilabel(path)


def test_the_loss_with_smoothed_labels_and_its_smallest_value() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, -3.0]])
    batch = Batch(torch.zeros(2, 1), torch.tensor([[1, 0, 1], [0, 1, 1]]), ("",) * 2, torch.arange(2))
    task = MultiLabelTask("abc", label_smoothing=0.2)

    def loss(logits: torch.Tensor) -> float:
        terms = task.train_step(lambda inputs: logits, batch)  # type: ignore[arg-type]
        return terms.value(task.counts(nn.Identity(), batch)).item()

    smooth, p = torch.tensor([[0.9, 0.1, 0.9], [0.1, 0.9, 0.9]]), logits.sigmoid()
    assert loss(logits) == pytest.approx(-(smooth * p.log() + (1 - smooth) * (1 - p).log()).mean().item(), rel=1e-5)
    assert loss((smooth / (1 - smooth)).log()) == pytest.approx(task.smallest_loss, rel=1e-5)
    assert MultiLabelTask("abc").smallest_loss == 0
    terms = task.train_step(lambda inputs: logits, batch)  # type: ignore[arg-type]
    assert terms.metrics["all labels right"].total == 1
    targets = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert positive_weights(targets, 3.0).tolist() == pytest.approx([1 / 3, 3, 1])


def test_thresholds_and_the_number_of_labels_shown_have_limits() -> None:
    limits = MultiLabelTask("ab", thresholds=[0.0, 1.0], top=1)
    (result,) = limits.classify(torch.tensor([[-50.0, 50.0]]), ["a.png"])
    assert result.labels == ("b", "a")  # at a threshold is above it
    assert len(result.top) == 1
    for changes in ({"thresholds": [0.5, 1.5]}, {"thresholds": [-0.1, 0.5]}, {"top": 0}, {"label_smoothing": 1.0}):
        with pytest.raises(ConfigError):
            MultiLabelTask("ab", **changes)


def test_an_image_in_several_folders_has_several_labels(tmp_path: Path) -> None:
    for number in range(3):
        save_image(tmp_path / "cat" / f"{number}.png", number)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "0.png").symlink_to(Path("..") / "cat" / "0.png")
    (tmp_path / "dog" / "copy.png").write_bytes((tmp_path / "cat" / "1.png").read_bytes())
    splits = open_multilabel(str(tmp_path), WHOLE)
    assert labels_of(splits) == {"cat/0.png": {"cat", "dog"}, "cat/1.png": {"cat", "dog"}, "cat/2.png": {"cat"}}


def test_the_categories_of_coco(tmp_path: Path) -> None:
    names = ["1.png", "2.png", "3.png"]
    for number, name in enumerate(names):
        save_image(tmp_path / "images" / name, number)
    box = {"bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    objects = [(1, 7), (1, 9), (1, 7), (2, 9)]
    content = {
        "images": [{"id": i, "file_name": name, "width": 8, "height": 8} for i, name in enumerate(names, 1)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"id": n, "image_id": i, "category_id": c, **box} for n, (i, c) in enumerate(objects, 1)],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    labels = {Path(name).name: row for name, row in labels_of(open_multilabel(str(tmp_path), WHOLE)).items()}
    assert labels == {"1.png": {"cat", "dog"}, "2.png": {"dog"}, "3.png": set()}


def test_a_model_gives_the_order_of_the_labels(tmp_path: Path) -> None:
    path = write_table(tmp_path, "file,labels", ["1.png,a;b", "2.png,a"])
    splits = open_multilabel(path, WHOLE, ("b", "c", "a"))
    assert splits.train.targets.tolist() == [[True, False, True], [False, False, True]]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="does not have: b"):
        open_multilabel(path, WHOLE, ("a",))


def test_the_check_counts_labels_and_finds_contradictions(tmp_path: Path) -> None:
    path = write_table(tmp_path, "file,labels", ["1.png,a;b", "2.png,a;", "3.png,b;", "4.png,;"])
    report = check_multilabel(open_multilabel(path, WHOLE))
    assert report.labels["train"] == {"a": 2, "b": 2}
    assert report.unlabelled["train"] == 1
    assert not report.ok  # 2.png and 3.png have the same bytes (both rows are as long) and other labels
    assert "1 images have several labels: train:2.png = train:3.png" in str(report)


class Constant(nn.Module):
    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize("weights", [None, torch.tensor([2.0, 0.5, 1.0])])
def test_the_loss_is_binary_cross_entropy(weights: torch.Tensor | None) -> None:
    logits, target = torch.randn(4, 3), (torch.rand(4, 3) > 0.5).float()
    task = MultiLabelTask("abc", positive_weights=weights)
    batch = Batch(torch.zeros(4, 1), target, tuple("wxyz"), torch.arange(4))
    model = Constant(logits)
    value = task.train_step(model, batch).value(task.counts(model, batch))
    torch.testing.assert_close(value, F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights))


def test_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 4)), rng.random((50, 4)) > 0.7
    targets[:, 3] = False
    thresholds = best_thresholds(logits, targets)
    metrics = multilabel_metrics(logits, targets, "abcd", thresholds)
    scores = 1 / (1 + np.exp(-logits))
    expected = np.mean([average_precision_score(targets[:, k], scores[:, k]) for k in range(3)])
    assert metrics.mean_ap == pytest.approx(expected, abs=1e-12)
    assert metrics.per_label[3].ap is None
    assert metrics.micro_f1 == pytest.approx(f1_score(targets, scores >= thresholds, average="micro"), abs=1e-12)
    assert MultiLabelMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    for k in range(3):  # no threshold on a grid has a better F1
        grid = max(f1_score(targets[:, k], scores[:, k] >= t, zero_division=0) for t in np.linspace(0, 1, 201))
        assert metrics.per_label[k].f1 >= grid - 1e-12


def test_metrics_by_hand() -> None:
    """One of two images of a, at the threshold; one of b, below one without it; none of c."""
    logits = torch.tensor([[0.0, 3, -5], [-2, 1, -5], [-3, -1, -5], [-4, -1, -5]])
    target = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    task = MultiLabelTask(("a", "longer", "c"))
    collected = Collected({"logits": logits, "target": target}, tuple("wxyz"))
    metrics = task.measure(collected)
    assert [(row.ap, row.precision, row.recall, row.support) for row in metrics.per_label] == [
        (1.0, 1.0, 0.5, 2), (0.5, 0.5, 1.0, 1), (None, 0.0, 0.0, 0)
    ]  # fmt: skip
    assert (metrics.mean_ap, metrics.exact, metrics.images, metrics.warning) == (0.75, 0.5, 4, "")
    assert (metrics.micro_f1, metrics.macro_f1) == pytest.approx((2 / 3, 2 / 3))
    assert metrics.loss == pytest.approx(F.binary_cross_entropy_with_logits(logits, target).item(), rel=1e-6)
    assert metrics.selection == pytest.approx(0.75 - 1e-6 * metrics.loss, abs=1e-12)
    assert metrics.scalars().keys() == {"loss", "mAP", "micro F1"}
    assert metrics.table().splitlines() == [
        "label       AP  threshold  precision  recall     F1  images",
        "a       100.0%       0.50     100.0%   50.0%  66.7%       2",
        "longer   50.0%       0.50      50.0%  100.0%  66.7%       1",
        "c            -       0.50       0.0%    0.0%   0.0%       0",
    ]
    assert [row["truth"] for row in task.rows(collected)] == [["a"], ["a", "longer"], [], []]
    for count in (1, 2):  # of fewer labels
        thresholds = np.full(count, 0.5)
        fewer = multilabel_metrics(logits[:, :count].numpy(), target[:, :count].numpy() > 0, "ab"[:count], thresholds)
        numbers = [(row.ap, row.precision, row.recall, row.f1) for row in fewer.per_label]
        assert numbers == [(row.ap, row.precision, row.recall, row.f1) for row in metrics.per_label[:count]]
    assert fewer.table().startswith("label      AP  threshold")
    nothing = multilabel_metrics(logits[:, 2:].numpy(), target[:, 2:].numpy() > 0, "c", np.full(1, 0.5))
    assert (nothing.mean_ap, nothing.macro_f1, nothing.micro_f1, nothing.exact) == (None, 0, 0, 1)
    assert nothing.per_label[0].precision == 0
    assert nothing.selection == -nothing.loss
    assert nothing.scalars().keys() == {"loss", "micro F1"}
    assert "no image" in nothing.warning
    with pytest.raises(ConfigError, match="no images"):
        task.measure(Collected({}, ()))


def test_thresholds_by_hand() -> None:
    """Between the lowest score with the best F1 and the next one: of one image; of five among 23, where all of them
    are found with precision 5/23 and two with 2/5; of all; of none."""
    logits = torch.linspace(2, -2, 23)[:, None].repeat(1, 3)
    target = torch.zeros(23, 3)
    target[0, 0], target[[3, 4, 20, 21, 22], 1] = 1, 1
    task, state = MultiLabelTask("abc").calibrate(Collected({"logits": logits, "target": target}, ("",) * 23))
    scores = logits[:, 0].double().sigmoid()
    expected = [(scores[0] + scores[1]).item() / 2, (scores[4] + scores[5]).item() / 2, 0.5]
    assert state["thresholds"] == pytest.approx(expected)
    assert thresholds_of(state, 3) == state["thresholds"] == list(task.thresholds)
    assert best_thresholds(np.zeros((2, 1)), np.ones((2, 1), bool)).tolist() == [0.25]
    assert (thresholds_of({}, 3), thresholds_of({"thresholds": 0.3}, 3)) == (0.5, 0.3)
    with pytest.raises(ConfigError, match="3 thresholds for 2 labels"):
        thresholds_of(state, 2)


def test_positives_are_weighted_by_the_ratio() -> None:
    targets = np.array([[1, 0], [0, 0], [0, 0], [0, 0]], bool)
    assert positive_weights(targets, 20.0).tolist() == [3.0, 4.0]
    assert positive_weights(targets, 2.0).tolist() == [2.0, 2.0]


def test_thresholds_and_scores_of_results() -> None:
    task = MultiLabelTask("abc", thresholds=[0.9, 0.1, 0.5], top=2)
    result = task.classify(torch.tensor([[2.0, -2.0, 3.0]]), ["x"])[0]
    assert result.labels == ("c", "b")
    assert result.top == (("c", pytest.approx(0.952574, abs=1e-6)), ("a", pytest.approx(0.880797, abs=1e-6)))
    with pytest.raises(ConfigError, match="thresholds"):
        MultiLabelTask("abc", thresholds=1.5)


def test_a_run_learns_and_its_model_keeps_its_thresholds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for number in range(80):
        left, right = bool(number & 1), bool(number & 2)
        save_image(tmp_path / "data" / f"{number}.png", number, left, right)
        rows.append(f"{number}.png,{';'.join(['left'] * left + ['right'] * right)}")
    table = tmp_path / "data" / "labels.csv"
    table.write_text("\n".join(["file,labels", *rows]))
    options = [
        "--set",
        "augmentation.flip=0",
        "--set",
        "augmentation.crop_scale=null",
        "--set",
        "class_weights=balanced",
    ]
    options += ["--model", "vit_digits", "--epochs", "12", "--batch-size", "8", "--workers", "0"]
    assert main(["train", str(table), "--task", "multilabel", *options, "--output", str(tmp_path / "run")]) == 0
    stored = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert stored["metrics"]["mean_ap"] > 0.9
    predictor = saccade.load(tmp_path / "run")
    thresholds = predictor.source.task_state["thresholds"]
    assert [row["threshold"] for row in stored["metrics"]["per_label"]] == thresholds
    assert predictor.predict(tmp_path / "data" / "3.png").labels in (("left", "right"), ("right", "left"))
    assert predictor.predict(tmp_path / "data" / "0.png").labels == ()
    assert predictor.with_options({"threshold": 1.0}).predict(tmp_path / "data" / "3.png").labels == ()
    assert "Labels</h2>" in (tmp_path / "run" / "report.html").read_text()
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), str(table), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["mean_ap"] == pytest.approx(stored["metrics"]["mean_ap"], abs=1e-6)
