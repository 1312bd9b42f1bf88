"""How outputs depend on places: known answers, and every family of models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.inputs import ImageBatches, open_images
from saccade.analysis.perturbations import occlude, perturbation_curve, shift, shuffle, wilson
from saccade.analysis.receptive_field import receptive_field
from saccade.checkpoints.directory import LoadedModel
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.tasks.loading import predictor_of
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import created


def vit(options: dict) -> Predictor:
    torch.manual_seed(0)
    net = saccade.create("vit_digits", options=options)
    for parameter in net.parameters():  # far from the small weights of the start
        torch.nn.init.normal_(parameter, std=0.3)
    preprocessing = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.5,))
    return predictor_of(LoadedModel(net, "vit", tuple("0123456789"), preprocessing))


def batches(predictor: Predictor, count: int = 4, size: int = 8, channels: int = 1) -> ImageBatches:
    torch.manual_seed(1)
    images = torch.randn(count, channels, size, size).unbind()
    batch = predictor.task.input_batch(images, [(size, size)] * count, [str(i) for i in range(count)])
    return ImageBatches(iter([batch]), count, "noise")


def test_the_perturbations_themselves() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert shift(image, 1)[0, 0, 0].tolist() == [3, 0, 1, 2]
    generator = torch.Generator().manual_seed(0)
    shuffled = shuffle(image, 2, generator)
    tiles = {tuple(t.flatten().tolist()) for t in shuffled[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).flatten(0, 1)}
    assert tiles == {(0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)}
    assert not torch.equal(shuffled, image)
    torch.testing.assert_close(shuffle(image, 1, generator), image)
    odd = torch.rand(2, 3, 7, 5)
    assert sorted(shuffle(odd, 2, generator).flatten().tolist()) == sorted(odd.flatten().tolist())
    hidden = occlude(torch.ones(3, 1, 8, 8), 0.25, (4, 4), generator)
    assert (hidden.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)) == 0).sum((1, 2, 3)).tolist() == [4, 4, 4]


def test_attention_without_positions_does_not_see_the_order_of_patches() -> None:
    blind = vit({"positions": "none", "class_token": False, "pooling": "mean"})
    shuffled = perturbation_curve(blind, batches(blind), "shuffle", [4])
    np.testing.assert_allclose(shuffled.change, 0, atol=1e-5)
    assert shuffled.agreement is not None
    assert shuffled.agreement.tolist() == [1, 1]
    moved = perturbation_curve(blind, batches(blind), "shift", [1, 2, 4])
    np.testing.assert_allclose(moved.change[[0, 2, 3]], 0, atol=1e-5)  # whole patches
    assert moved.change[1] > 0.01  # half a patch
    sees = vit({})
    assert perturbation_curve(sees, batches(sees), "shuffle", [4]).change[1] > 0.01


def test_hiding_everything_leaves_the_bias() -> None:
    predictor = vit({})
    curve = perturbation_curve(predictor, batches(predictor), "occlusion", [1.0])
    inputs = batches(predictor).batches.__next__().inputs
    whole, nothing = predictor.run(inputs), predictor.run(torch.zeros_like(inputs))
    expected = ((nothing - whole).norm(dim=1) / whole.norm(dim=1)).mean().item()
    assert curve.change[1] == pytest.approx(expected, rel=1e-5)
    for kind, level in (("shuffle", 9), ("shift", 0.5), ("occlusion", 1.5)):
        with pytest.raises(ConfigError, match="takes levels"):
            perturbation_curve(predictor, batches(predictor), kind, [level])


def test_accuracy_with_its_interval() -> None:
    predictor = vit({})
    curve = perturbation_curve(predictor, open_images(predictor, "digits", limit=50), "occlusion", [0.5])
    assert curve.accuracy is not None
    value, low, high = curve.accuracy[0]
    assert low <= value <= high
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-3))
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-3), pytest.approx(0.7634, abs=1e-3))


def test_the_field_of_a_block_without_attention_is_its_patch() -> None:
    predictor = vit({})
    with torch.no_grad():
        for block in predictor.model.encoder.blocks:
            block.attn.proj.weight.zero_()
    fields = receptive_field(predictor, batches(predictor)).fields
    assert fields.shape == (4, 8, 8)
    for field in fields:
        assert field[4:6, 4:6].sum() == pytest.approx(1)
        assert (field > 0).sum() == 4


def test_the_field_of_uniform_attention_is_the_image() -> None:
    predictor = vit({})
    with torch.no_grad():
        predictor.model.encoder.blocks[0].attn.qkv.weight[:128].zero_()
        predictor.model.encoder.blocks[0].attn.qkv.bias[:128].zero_()
    assert (receptive_field(predictor, batches(predictor)).fields[0] > 0).all()


def test_the_field_of_convolutions() -> None:
    """The first map of a VGG depends on a few pixels, and each deeper one on more."""
    torch.manual_seed(0)
    net = saccade.create("vgg13", num_classes=2, image_size=64)
    preprocessing = Preprocessing((64, 64))
    predictor = predictor_of(LoadedModel(net, "vgg", ("a", "b"), preprocessing))
    result = receptive_field(predictor, batches(predictor, 2, 64, 3))
    rows, columns = np.nonzero(result.fields[0])
    side = 1 + max(rows.max() - rows.min(), columns.max() - columns.min())
    assert side <= 14
    assert (np.diff(result.radius) > 0).all()
    assert (result.radius[0] < 5) & (result.radius[-1] < 64)


@pytest.mark.parametrize(
    ("name", "task"),
    [("detr_small", "detection"), ("dpt_small", "depth"), ("lenet", "classification"), ("deit_ti16", "classification")],
)
def test_fields_of_other_families(name: str, task: str) -> None:
    predictor = created(name, task)
    size = min(64, predictor.preprocess.size[0])
    channels = predictor.preprocess.channels
    fields = receptive_field(predictor, batches(predictor, 1, size, channels)).fields
    np.testing.assert_allclose(fields.sum((1, 2)), 1)
    assert all(p.grad is None for p in predictor.model.parameters())


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1))
    other = str(save(tmp_path, "conv_vit_digits", 8, 1))
    for i in range(3):
        Image.effect_noise((8, 8), 80).save(f"{i}.png")
    for name in ("shift", "shuffle", "occlusion", "field"):
        assert main(["analyze", name, model, "*.png", "--other", other, "-o", "out"]) == 0
        assert Path(f"out/{name}.csv").is_file()
    assert "conv_vit_digits" in capsys.readouterr().out
    assert main(["analyze", "shuffle", model, "*.png", "--levels", "3", "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
