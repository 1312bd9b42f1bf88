"""Probes against scikit-learn and sums by hand; features that are computed once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import saccade
from saccade.analysis import probing
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import adapt
from saccade.cli.main import main
from saccade.data.builtin.digits import digits_splits
from saccade.data.preprocessing import Preprocessing
from saccade.engine import features
from saccade.engine.predictor import Predictor
from saccade.errors import DataError
from saccade.tasks.loading import predictor_of


def clouds(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three overlapping clouds of points in eight dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.eye(3, 8) * 2.5
    return centres[labels] + torch.randn(count, 8, generator=generator), labels


def predictor(seed: int = 0) -> Predictor:
    torch.manual_seed(seed)
    net = saccade.create("vit_digits")
    preprocessing = Preprocessing((8, 8), "exact", 1.0, channels=1, mean=(0.5,), std=(0.5,))
    return predictor_of(LoadedModel(net, "vit", tuple("0123456789"), preprocessing))


def test_accuracy_grows_with_the_shots_on_pixels_of_digits() -> None:
    splits = digits_splits()
    assert splits.test is not None
    sets = []
    for part in (splits.train, splits.test):
        pixels = [torch.from_numpy(np.asarray(part.image(i), dtype=np.float32)).flatten() for i in range(len(part))]
        sets += [torch.stack(pixels), torch.as_tensor(part.labels)]
    means = []
    for shots in (1, 5, 10, 25):
        draws = [probing.draw(sets[0], sets[1], shots, seed) for seed in range(3)]
        means.append(sum(probing.few_shot_accuracy(*draw, sets[2], sets[3]) for draw in draws) / 3)
    assert means == sorted(means)
    assert means[0] > 0.4
    assert means[-1] > 0.85


def test_nearest_neighbours_by_hand() -> None:
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    labels = torch.tensor([0, 0, 1])
    test = torch.tensor([[2.0, 0.1], [0.1, 5.0], [0.0, 1.0]])
    assert probing.knn_accuracy(train, labels, test, torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)


def test_more_images_teach_more_and_seeds_draw_differently() -> None:
    train, labels = clouds(150)
    test, truth = clouds(300, seed=1)
    result = probing.probe(train, labels, test, truth, shots=(1, 10, 50, 60))
    assert [row.shots for row in result.few_shot] == [1, 10, 50]  # 60 images a class there are not
    assert result.few_shot[0].mean < result.few_shot[2].mean
    assert len(set(result.few_shot[0].accuracies)) > 1
    assert result.linear > 0.85
    assert probing.draw(train, labels, 2, 0)[1].bincount().tolist() == [2, 2, 2]
    with pytest.raises(DataError, match="a class has no training image"):
        probing.probe(train, labels, test, truth + 1)


def test_a_backbone_does_not_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = digits_splits()
    assert splits.test is not None
    runs = []
    collect = features.collect
    monkeypatch.setattr(features, "collect", lambda *a, **k: runs.append(1) or collect(*a, **k))
    first = features.extract(predictor(), splits.test, splits.fingerprint, cache=tmp_path)
    other_head = predictor_of(adapt(predictor().source, num_classes=3))
    again = features.extract(other_head, splits.test, splits.fingerprint, cache=tmp_path)
    assert (len(runs), first.cached, again.cached) == (1, False, True)
    assert torch.equal(first.values, again.values)
    assert first.values.shape == (360, 64)
    # Other weights and other images are other features.
    features.extract(predictor(seed=1), splits.test, splits.fingerprint, cache=tmp_path)
    features.extract(predictor(), splits.test, "changed", cache=tmp_path)
    assert len(runs) == 3
    features.extract(predictor(), splits.test, splits.fingerprint)
    assert len(runs) == 4
    assert len(list(tmp_path.iterdir())) == 3


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_model_dir(tmp_path / "model", predictor().source)
    arguments = ["probe", str(tmp_path / "model"), "digits", "--cache", str(tmp_path / "c"), "--shots", "1", "5"]
    assert main([*arguments, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (first.pop("cached"), again.pop("cached")) == (False, True)
    assert first == again
    assert first["knn"] > 0.15  # chance is 0.1; even fresh weights tell a little
    assert main(arguments) == 0
    assert "from the cache" in capsys.readouterr().out
    assert main([*arguments, "--no-cache"]) == 2


def test_a_model_of_colour_takes_grey_images(tmp_path: Path) -> None:
    net = saccade.create("vit_ti16", num_classes=0, image_size=32, options={"depth": 1})
    colour = predictor_of(LoadedModel(net, "vit", (), Preprocessing((32, 32))))
    splits = digits_splits()
    assert splits.test is not None
    assert features.extract(colour, splits.test, splits.fingerprint).values.shape == (360, 192)
