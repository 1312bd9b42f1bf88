"""Token merging of whole models."""

import pytest
import torch

import saccade
from saccade.errors import ConfigError
from saccade.inference.choices import choice_key
from saccade.inference.token_merging import merge_count
from saccade.models.dpt import DPT
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig

SMALL = ViTConfig(BlockConfig(16, 2, 32), 3, image_size=(16, 16), patch_size=(4, 4), num_classes=5)


def config(**changes) -> ViTConfig:
    return ViTConfig.from_dict({**SMALL.to_dict(), **changes})


@pytest.mark.parametrize("pooling", ["cls", "mean", "cls+mean", "attention"])
def test_every_pooling_reads_all_patches(pooling: str) -> None:
    net = VisionTransformer(config(pooling=pooling)).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        plain = net(images)
        torch.testing.assert_close(saccade.merge_tokens(net, 0)(images), plain)
        merged = saccade.merge_tokens(net, 2)(images)
        torch.testing.assert_close(net(images), plain, rtol=0, atol=0)  # the model itself is unchanged
    assert merged.shape == plain.shape
    assert not torch.equal(merged, plain)


def test_a_picture_of_one_colour_keeps_its_class_token_without_positions() -> None:
    """All patches are equal tokens then, so that merging them changes nothing."""
    net = VisionTransformer(config(positions="none")).double().eval()
    images = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(saccade.merge_tokens(net, 6)(images), net(images), rtol=0, atol=1e-12)


def test_deit_and_dpt_merge_and_others_are_refused() -> None:
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        deit = saccade.create("deit_ti16", num_classes=3, image_size=32).eval()
        assert saccade.merge_tokens(deit, 1)(images).shape == (1, 3)
        dense = saccade.create("dpt_small", image_size=32).eval()
        assert isinstance(dense, DPT)
        merged = saccade.merge_tokens(dense, 2)
        assert merged(images).values.shape == dense(images).values.shape
    for net, message in (
        (saccade.create("resnet18_small"), "a ResNet has other tokens"),
        (VisionTransformer(config(positions="rotary")), "rotary positions"),
        (VisionTransformer(config(pad=True)), "padded images"),
    ):
        with pytest.raises(ConfigError, match=message):
            saccade.merge_tokens(net, 1)
    with pytest.raises(ConfigError, match="0 or more"):
        saccade.merge_tokens(deit, -1)


def test_a_merging_model_becomes_fast_too() -> None:
    """Its choice is its own, not that of the plain model with the same weights."""
    torch.manual_seed(0)
    net = VisionTransformer(config()).eval()
    merging, images = saccade.merge_tokens(net, 2), torch.randn(64, 3, 16, 16)
    fast = saccade.optimize(
        merging,
        batch_size=64,
        images=images,
        backends=["torch", "torch with packed weights"],
        seconds=0.01,
        cache=False,
    )
    assert {m.refusal for m in fast.choice.measurements} == {""}
    assert all(m.agreement is not None and m.agreement >= 0.95 for m in fast.choice.measurements)
    with torch.inference_mode():
        same = (fast(images) - merging(images)).abs().amax(dim=1) < 1e-5
        assert same.float().mean() > 0.95
        assert not torch.allclose(fast(images), net(images), atol=1e-3)
    keys = {choice_key(model, [merge_count(model)], []) for model in (net, merging)}
    assert len(keys) == 2
