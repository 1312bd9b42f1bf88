"""ViT: every option runs, learns and exports; what does not fit is said."""

import json
from typing import Any

import pytest
import torch

import saccade
from saccade.errors import ConfigError
from saccade.models.vit import vit_config
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import build, config_of

OPTIONS = {
    "mean": {"class_token": False, "prefix_positions": 0, "pooling": "mean"},
    "mean with class token": {"pooling": "mean", "pool_norm": True},
    "attention pool": {"pooling": "attention"},
    "no pooling": {"pooling": "none"},
    "pre-logits": {"pre_logits": 24},
    "registers": {"num_registers": 2, "prefix_positions": 0},
    "registers with positions": {"num_registers": 2, "prefix_positions": 3},
    "input norm": {"input_norm": True},
    "no qkv bias": {"block.qkv_bias": False},
    "layer scale": {"block.layer_scale": 1e-5},
    "tanh gelu": {"block.activation": "gelu_tanh"},
    "quick gelu": {"block.activation": "quick_gelu"},
    "post-norm": {"block.norm": "post"},
    "eps": {"block.norm_eps": 1e-12},
    "no positions": {"positions": "none", "prefix_positions": 0},
    "sincos 1-D": {"positions": "sincos_1d", "prefix_positions": 0},
    "sincos 2-D": {"positions": "sincos_2d", "prefix_positions": 0},
    "fourier": {"positions": "fourier", "prefix_positions": 0},
    "padding": {"pad": True},
    "wide patches": {"patch_size": (8, 16)},
    "drop path": {"drop_path": 0.3},
}


def small(image_size=(32, 48), **options):
    torch.manual_seed(0)
    sizes = {"depth": 2, "patch_size": (8, 8), "block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 48}
    return saccade.create("vit_ti16", num_classes=5, image_size=image_size, options={**sizes, **options})


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_runs_forward_and_back(option: str) -> None:
    net = small(**OPTIONS[option])
    logits = net(torch.randn(2, 3, 32, 48))
    assert logits.shape[0] == 2
    assert logits.shape[-1] == 5
    logits.square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    values = json.loads(json.dumps(net.config.to_dict()))
    assert ViTConfig.from_dict(values) == net.config
    again = build("vit", values)
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize("option", ["mean", "sincos 2-D", "registers", "fourier", "no positions"])
def test_any_image_size(option: str) -> None:
    net = small(**OPTIONS[option]).eval()
    for size in ((8, 8), (64, 24), (40, 80)):
        assert tuple(net(torch.randn(1, 3, *size)).shape) == (1, 5)
        assert net.token_layout(size).grid == (size[0] // 8, size[1] // 8)


@pytest.mark.parametrize("channels", [1, 2, 13])
def test_any_channels(channels: int) -> None:
    net = saccade.create("vit_digits", in_channels=channels)
    assert tuple(net(torch.randn(1, channels, 8, 8)).shape) == (1, 10)


def test_padding_changes_nothing_but_the_size() -> None:
    """Mean pooling over valid patches: an image alone and the same one padded in a batch give the same logits."""
    options = {**OPTIONS["mean"], "positions": "none"}
    net = small(**options, pad=True).eval()
    image = torch.randn(1, 3, 32, 24)
    batch = torch.zeros(1, 3, 48, 64)
    batch[:, :, :32, :24] = image
    valid = torch.zeros(1, 48, 64, dtype=torch.bool)
    valid[:, :32, :24] = True
    torch.testing.assert_close(net(batch, valid), net(image), atol=1e-5, rtol=1e-4)


def test_the_table_of_sizes() -> None:
    assert saccade.list_models("deit") == ["deit_ti16", "deit_s16", "deit_b16"]
    assert saccade.list_models("vit_b*") == ["vit_b8", "vit_b16", "vit_b32", "vit_bigg14"]
    config = vit_config("h", 14)
    assert (config.block.embed_dim, config.depth, config.block.num_heads, config.block.mlp_dim) == (1280, 32, 16, 5120)


def test_stochastic_depth_grows_from_zero() -> None:
    rates = [block.drop_path.probability for block in small(**{"drop_path": 0.4, "depth": 5}).encoder.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match="vit_b16 is that network"):
        saccade.create("vit_b_16")
    with pytest.raises(ConfigError, match="did you mean depth"):
        saccade.create("vit_b16", options={"dept": 3})
    with pytest.raises(ConfigError, match="class_token"):
        saccade.create("vit_ti16", options={"class_token": False, "prefix_positions": 0})
    with pytest.raises(ConfigError, match="no architecture"):
        build("swin", {})
    with pytest.raises(ValueError, match="32 x 32 or 32 x 40"):
        small()(torch.randn(1, 3, 32, 36))
    assert config_of("vit_ti16", image_size=64).image_size == (64, 64)


DINOV3 = {
    "positions": "rotary_normalized", "num_registers": 2, "prefix_positions": 0, "block.key_bias": False,
    "block.layer_scale": 1e-5, "position_augmentation.rescale": 2.0,
}  # fmt: skip


@pytest.mark.slow
def test_augmented_positions_compile() -> None:
    net, images = small(**DINOV3).train(), torch.randn(2, 3, 32, 48)
    torch.manual_seed(0)
    plain = net(images)
    torch.manual_seed(0)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, DINOV3], ids=["vit", "dinov3"])
def test_compile_and_export(options: dict[str, Any]) -> None:
    net, images = small(**options).eval(), torch.randn(2, 3, 32, 48)
    plain = net(images)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), plain, atol=1e-5, rtol=1e-5)
    exported = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(exported.module()(torch.cat((images, images)))[:2], plain, atol=1e-5, rtol=1e-5)
