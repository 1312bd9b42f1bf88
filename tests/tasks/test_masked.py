"""Masked image modelling: losses in closed form, the rule of 80, 10 and 10 %, what is not hidden has no say."""

import pytest
import torch

import saccade
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError
from saccade.models.mae import MAEOutput
from saccade.models.masked_vit import COLOURS, MaskedViT, MaskedViTOutput
from saccade.tasks.masked import LEVELS, MaskedColours, MaskedPixels
from saccade.tasks.predictions import MaskedMetrics
from tests.photos import batch_of

PLAIN = Preprocessing((4, 4), mean=(0.0,) * 3, std=(1.0,) * 3)


def small_masked_vit() -> MaskedViT:
    options = {"depth": 1, "block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 32, "patch_size": (4, 4)}
    net = saccade.create("masked_vit_ti16", image_size=40, options=options)
    assert isinstance(net, MaskedViT)
    return net


def test_only_hidden_patches_count() -> None:
    images = torch.zeros(1, 1, 4, 4)
    patches = torch.zeros(1, 4, 4)
    patches[0, 1] = 2.0  # wrong by 2 everywhere
    patches[0, 3] = 9.0
    hidden = torch.tensor([[False, True, True, False]])
    task = MaskedPixels((2, 2), norm_pixels=False)
    outputs = MAEOutput(patches, hidden)
    assert task.loss(outputs, batch_of(images)).item() == pytest.approx((4 + 0) / 2)
    kept = task.keep(outputs, batch_of(images))
    assert task.measure(*kept) == MaskedMetrics(loss=2.0, images=1)


def test_a_patch_is_compared_without_its_brightness_and_contrast() -> None:
    images = torch.randn(2, 1, 4, 4)
    outputs = MAEOutput(torch.randn(2, 4, 4), torch.ones(2, 4, dtype=torch.bool))
    task = MaskedPixels((2, 2))
    plain, brighter = (task.loss(outputs, batch_of(x)).item() for x in (images, 3 * images + 5))
    assert plain == pytest.approx(brighter, rel=1e-4)


def test_colours_are_three_bits_a_channel() -> None:
    levels = torch.zeros(1, 3, 4, 4)
    levels[0, :, :2, 2:] = torch.tensor([1.0, 0.5, 0.13])[:, None, None]
    levels[0, :, 2:, :2] = 0.124
    colours = MaskedColours((2, 2), PLAIN).colours(levels)
    assert colours.tolist() == [[0, 7 + 4 * 8 + 1 * 64, 0, 0]]
    assert LEVELS == COLOURS


def test_the_loss_of_colours_is_cross_entropy() -> None:
    images = torch.rand(2, 3, 4, 4)
    task = MaskedColours((2, 2), PLAIN)
    outputs = MaskedViTOutput(torch.randn(2, 4, 512), torch.tensor([[True, False, True, False]] * 2))
    logs = outputs.patches.log_softmax(-1)
    right = task.colours(images)
    expected = -sum(logs[b, n, right[b, n]] for b in range(2) for n in (0, 2)) / 4
    torch.testing.assert_close(task.loss(outputs, batch_of(images)), expected)


def test_of_the_patches_asked_for_eight_of_ten_are_replaced_one_is_swapped_and_one_stays() -> None:
    net = small_masked_vit()
    images, noise = torch.randn(1, 3, 40, 40), torch.rand(1, 100)
    seen: list[torch.Tensor] = []
    net.encoder.blocks.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    named = net(images, noise)
    assert named.hidden.sum().item() == 50
    assert noise[named.hidden].max() < noise[~named.hidden].min()
    embedded = net.encoder.patch_embed(images).tokens
    positions = net.encoder.with_prefix(torch.zeros_like(embedded), (10, 10))[:, 1:]
    tokens = seen[0][:, 1:] - positions

    def equal(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.isclose(one, other, atol=1e-5).all(dim=-1)

    kept, replaced = equal(tokens, embedded)[0], equal(tokens, net.mask_token)[0]
    assert replaced.sum().item() == 40
    assert (kept & named.hidden[0]).sum().item() == 5
    assert kept.sum().item() == 55
    swapped = ~kept & ~replaced
    others = torch.cdist(tokens[0][swapped], embedded[0]).argmin(dim=1)
    assert (others != swapped.nonzero().flatten()).all()
    assert len(set(others.tolist())) == 5


def test_it_learns_and_has_no_classes() -> None:
    net = small_masked_vit()
    net(torch.randn(2, 3, 40, 40)).patches.sum().backward()
    assert net.mask_token.grad is not None
    assert torch.equal(net.eval()(torch.ones(2, 3, 40, 40)).hidden[0], net(torch.ones(2, 3, 40, 40)).hidden[1])
    assert net.embed(torch.randn(1, 3, 40, 80)).shape == (1, net.num_features)
    assert net.features(torch.randn(1, 3, 40, 80))[0].features.shape == (1, 32, 10, 20)
    with pytest.raises(ConfigError, match="no classes"):
        saccade.create("masked_vit_b16", num_classes=3)
    with pytest.raises(ConfigError, match="shares of one whole"):
        saccade.create("masked_vit_b16", options={"swapped": 0.3})
