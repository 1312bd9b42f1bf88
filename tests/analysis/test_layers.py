"""What layers make of images: known answers, and every family of models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.activations import activations
from saccade.analysis.inputs import ImageBatches, open_images
from saccade.analysis.layers import layer_outputs
from saccade.analysis.logit_lens import layer_logits, logit_lens
from saccade.analysis.patch_filters import first_filters
from saccade.analysis.position_similarity import measure_positions
from saccade.analysis.similarity import MinibatchCKA, layer_similarity, unbiased_hsic, without_diagonal
from saccade.analysis.token_norms import token_norms
from saccade.analysis.token_pca import principal_colours, token_colours
from saccade.cli.main import main
from saccade.errors import ConfigError
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import IMAGE, created


def test_sinusoidal_positions_at_any_size() -> None:
    """Each axis has sines and cosines of its place: similarity depends on distance alone."""
    net = saccade.create("vit_digits")
    measured = measure_positions(net, (12, 16))
    assert measured.kind == "sinusoidal"
    assert measured.values.shape == (6, 8, 6, 8)
    assert measured.values[2, 3, 2, 4] == pytest.approx(measured.values[4, 5, 4, 6], abs=1e-5)
    assert measured.values[1, 1, 1, 1] == pytest.approx(1)
    detector = measure_positions(saccade.create("detr_small"))
    assert (detector.kind, detector.values[0, 0, 0, 0]) == ("sinusoidal", pytest.approx(1))
    with pytest.raises(ConfigError, match="no positions"):
        measure_positions(saccade.create("lenet"))


def test_filters_of_a_convnet() -> None:
    net = saccade.create("alexnet", num_classes=2)
    with torch.no_grad():
        net.convs[0].weight.zero_()
        net.convs[0].weight[5, 0, 2, 3] = -2.0
        net.convs[0].weight[7] = 0.5
    filters = first_filters(net, 2)
    assert filters.filters.shape == (2, 11, 11, 3)
    assert filters.filters[0, 2, 3, 0] == 0  # the largest weight, negative
    assert filters.filters[0, 0, 0, 0] == 0.5
    assert (filters.filters[1] == 1).all()
    energy = 363 * 0.25
    np.testing.assert_allclose(filters.variance, [4 / (4 + energy), energy / (4 + energy)], rtol=1e-5)


def test_colours_of_three_known_components() -> None:
    """Three independent features of different strength become red, green and blue; a fourth, weaker one is left out."""
    torch.manual_seed(0)
    strength = torch.tensor([8.0, 4.0, 2.0, 0.1])
    features = torch.randn(4, 20, 30) * strength[:, None, None]
    (colours,), variance = principal_colours([features])
    assert colours.shape == (20, 30, 3)
    for channel in range(3):
        correlation = np.corrcoef(colours[..., channel].ravel(), features[channel].ravel())[0, 1]
        assert abs(correlation) > 0.95
    np.testing.assert_allclose(variance, (strength**2 / (strength**2).sum())[:3], atol=0.02)
    two_images, _ = principal_colours([features[:, :8], features[:, 8:]])
    torch.testing.assert_close(torch.cat(two_images), colours, atol=1e-4, rtol=0)


def cka_of(first: torch.Tensor, second: torch.Tensor) -> float:
    cka = MinibatchCKA()
    cka.add([first], [second])
    return cka.result().item()


def test_cka_is_blind_to_rotation_and_scale_and_zero_for_independent_features() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 10)
    rotation = torch.linalg.qr(torch.randn(10, 10)).Q
    assert cka_of(x, x) == pytest.approx(1)
    assert cka_of(x, 3 * x @ rotation) == pytest.approx(1)
    values = [cka_of(torch.randn(64, 10), torch.randn(64, 10)) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200) + 1e-3  # the estimate is unbiased


def test_hsic_counts_each_quadruple_once() -> None:
    """The U-statistic: the mean over all ordered quadruples of different images."""
    torch.manual_seed(0)
    k, kernel = (without_diagonal(x @ x.T) for x in torch.randn(2, 6, 3, dtype=torch.float64))
    total, count = 0.0, 0
    for i in range(6):
        for j in range(6):
            for q in range(6):
                for r in range(6):
                    if len({i, j, q, r}) == 4:
                        total += (k[i, j] * (kernel[i, j] + kernel[q, r] - 2 * kernel[i, q])).item()
                        count += 1
    assert unbiased_hsic(k, kernel) == pytest.approx(total / count)


def pictures(folder: Path, count: int, size: int) -> str:
    for i in range(count):
        Image.effect_noise((size, size), 80).convert("RGB").save(folder / f"{i}.png")
    return str(folder / "*.png")


FAMILIES = [
    ("vit_digits", 8, 1, 3), ("conv_vit_digits", 8, 1, 3), ("mae_digits", 8, 1, 0), ("masked_vit_digits", 8, 1, 0),
    ("detr_small", 64, 3, 3), ("deit_ti16", 32, 3, 3), ("resnet18_small", 32, 3, 3), ("lenet", 32, 1, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "size", "channels", "classes"), FAMILIES)
def test_families(tmp_path: Path, name: str, size: int, channels: int, classes: int) -> None:
    predictor = saccade.load(save(tmp_path, name, size, channels, classes))
    data = pictures(tmp_path, 5, size)
    files = sorted(tmp_path.glob("*.png"))
    layers = layer_outputs(predictor, predictor.prepare(files[0])[None])
    grids = layers.grids()
    assert all(grid.ndim == 4 for grid in grids.values())
    similarity = layer_similarity(predictor, None, open_images(predictor, data))
    np.testing.assert_allclose(np.diag(similarity.cka), 1, atol=1e-9)
    assert similarity.layers == tuple(grids)
    assert len(activations(predictor, files[0], count=3).maps) == len(grids)
    colours = token_colours(predictor, files)
    assert colours.colours[0].shape == (*grids[colours.layer].shape[2:], 3)
    if layers.layout is None:
        with pytest.raises(ConfigError, match="no tokens"):
            token_norms(predictor, open_images(predictor, data))
        return
    norms = token_norms(predictor, open_images(predictor, data, batch_size=2))
    tokens = layers.outputs[norms.layers[-1]][0, layers.layout.num_prefix :].norm(dim=-1)
    np.testing.assert_allclose(norms.first[-1].ravel(), tokens.numpy(), rtol=1e-5)
    assert norms.prefix.shape == (len(grids), layers.layout.num_prefix)


def test_outliers_are_counted() -> None:
    """One patch of 16 is read as a value a hundred times larger by an embedding that does nothing else."""
    predictor = created("vit_digits", "classification")
    net = predictor.model
    with torch.no_grad():
        for parameter in net.encoder.blocks.parameters():
            parameter.zero_()
        net.encoder.pos_embed.table.zero_()
        net.encoder.patch_embed.proj.bias.zero_()
        net.encoder.patch_embed.proj.weight.fill_(1.0)
    pixels = torch.full((1, 8, 8), 0.01)
    pixels[:, 2:4, 4:6] = 1.0
    batch = predictor.task.input_batch([pixels], [(8, 8)], ["a"])
    norms = token_norms(predictor, ImageBatches(iter([batch]), 1, ""))
    np.testing.assert_allclose(norms.outliers, 1 / 16)
    np.testing.assert_allclose(norms.largest, 4 * 8, rtol=1e-5)  # four pixels, in each of 64 features
    np.testing.assert_allclose(norms.first[0, 1, 2], 32, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit_digits", "conv_vit_digits", "deit_ti16"])
def test_the_lens_ends_with_the_model(name: str) -> None:
    predictor = created(name, "classification")
    inputs = predictor.prepare(IMAGE)[None]
    lens = layer_logits(predictor, inputs)
    torch.testing.assert_close(list(lens.values())[-1], predictor.run(inputs))
    assert not any(module._forward_hooks for module in predictor.model.modules())
    blocks = [m for m in predictor.model.modules() if type(m).__name__ == "Block"]
    with torch.no_grad():  # blocks after the first that add nothing: the head sees the same everywhere
        for block in blocks[1:]:
            for linear in (block.attn.proj, block.mlp.fc2):
                linear.weight.zero_()
                linear.bias.zero_()
    for logits in layer_logits(predictor, inputs).values():
        torch.testing.assert_close(logits, predictor.run(inputs))


def test_the_lens_measures_accuracy_where_there_are_targets() -> None:
    predictor = created("vit_digits", "classification")
    lens = logit_lens(predictor, open_images(predictor, "digits", limit=40))
    assert lens.accuracy is not None
    assert lens.agreement[-1] == 1
    assert lens.accuracy.shape == (4,)
    with pytest.raises(ConfigError, match="no transformer blocks"):
        layer_logits(created("lenet", "classification"), torch.zeros(1, 1, 32, 32))


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1))
    data = pictures(tmp_path, 5, 8)
    with_data = {"cka": [data, "--other", model], "norms": [data], "lens": [data], "activations": ["0.png"],
                 "token-pca": ["0.png", "1.png"], "positions": [], "filters": []}  # fmt: skip
    for name, arguments in with_data.items():
        assert main(["analyze", name, model, *arguments, "-o", "out"]) == 0, name
        capsys.readouterr()
        for ending in ("png", "csv", "json"):
            assert Path(f"out/{name}.{ending}").stat().st_size > 20
    assert main(["analyze", "filters", model, "--raw", "--count", "4", "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(["analyze", "token-pca", model, "0.png", "--layer", "9"]) == 2
