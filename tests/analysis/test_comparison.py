"""Two classifiers on the same images: known tests and intervals, a whole report."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.analysis.comparison import common, compare, mcnemar, paired_interval
from saccade.cli.main import main
from saccade.engine.intervals import Interval
from saccade.errors import ConfigError
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import created


def test_mcnemar_is_a_test_of_coins() -> None:
    """Eight heads of nine: p = 2 (1 + 9) / 2⁹. As many on both sides: 1."""
    assert mcnemar(8, 1) == pytest.approx(2 * 10 / 512)
    assert mcnemar(1, 8) == mcnemar(8, 1)
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 0) == 1
    assert mcnemar(20, 0) == pytest.approx(2 * 0.5**20)


def test_the_interval_is_paired() -> None:
    """Two models that fail on the same images differ by nothing, however often they fail."""
    hits = np.arange(400) % 2 == 0
    same = paired_interval(hits, hits)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = hits.copy()
    better[1:41:2] = True  # 20 images more, of 400
    gain = paired_interval(better, hits)
    deviation = (0.05 * 0.95 / 400) ** 0.5
    assert gain.value == pytest.approx(0.05)
    assert (gain.high - gain.low) / 2 == pytest.approx(1.96 * deviation, rel=0.15)


def test_images_in_common() -> None:
    assert common(["a", "b", "c"], ["c", "x", "a"]) == ([0, 2], [2, 0])


def test_counts_agree_with_the_predictions() -> None:
    first, second = created("vit_digits", "classification"), created("vit_digits", "classification")
    for parameter in second.model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    result = compare(first, second, "digits", split="test", names=("a", "b"))
    assert result.both + result.neither + result.only_first + result.only_second == result.images == 360
    a, b = (model.accuracy.value for model in result.models)
    assert result.difference.value == pytest.approx(a - b)
    assert a == pytest.approx((result.both + result.only_first) / 360)
    assert result.disagreements
    assert all(row.labels[0] != row.labels[1] for row in result.disagreements)
    assert len(result.rows()) == 2
    clear = replace(result, difference=Interval(-0.1, -0.2, -0.05))
    assert (clear.best("accuracy"), replace(clear, difference=Interval(-0.1, -0.2, 0.05)).best("accuracy")) == (1, None)
    ranking = clear.to_dict()["ranking"]
    assert ranking["accuracy"] == {"better": "higher", "best": "b"}
    assert ranking["params"] == {"better": "lower", "best": None}  # both have as many
    same = compare(first, first, "digits", split="test")
    assert (same.p_value, same.difference.low, len(same.disagreements)) == (1, 0, 0)


def test_classes_are_matched_by_name() -> None:
    """The same model with its classes in another order is the same model."""
    first, second = created("vit_digits", "classification"), created("vit_digits", "classification")
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        second.model.head.weight.copy_(second.model.head.weight[order])
        second.model.head.bias.copy_(second.model.head.bias[order])
    second.labels = tuple(first.labels[i] for i in order)
    second.task.labels = second.labels
    result = compare(first, second, "digits", split="test")
    assert result.only_first == result.only_second == 0
    assert not result.disagreements
    second.labels = tuple("abcdefghij")
    with pytest.raises(ConfigError, match="different classes"):
        compare(first, second, "digits")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = [str(save(tmp_path, name, size, 1, 10)) for name, size in (("vit_digits", 8), ("lenet", 32))]
    for path in models:  # the names of the digits
        config = Path(path, "config.json")
        text = config.read_text()
        for number in range(10):
            text = text.replace(f'"c{number}"', f'"{number}"')
        config.write_text(text)
    options = ["--split", "test", "--images", "8", "--pictures", "2"]
    assert main(["compare", *models, "digits", *options]) == 0
    printed = capsys.readouterr().out
    assert "McNemar" in printed
    (costs,) = (line for line in printed.splitlines() if line.startswith("lenet "))
    assert re.search(r" [\d,]+\* +\d\.\d+\* ", costs), costs  # fewer parameters and multiply-adds than the ViT
    page = Path("compare.html").read_text()
    for part in ("vit_digits", "lenet", "Shifts", "Corruptions", "Disagreements", "paired 95 % interval"):
        assert part in page
    rows = dict(re.findall(r"<tr><td[^>]*>([^<]+)<br>(.*?)</tr>", page))
    assert "higher is better" in rows["accuracy"]
    assert "lower is better" in rows["calibration error"]
    assert ['aria-label="better"' in cell for cell in rows["parameters"].split("</td>")[1:3]] == [False, True]
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert main(["compare", *models, "digits", "-o", "x.pdf"]) == 2
