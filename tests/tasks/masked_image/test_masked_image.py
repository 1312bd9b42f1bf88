"""Masked image modelling: losses in closed form, the 80/10/10 rule, visible patches have no loss, masks of a batch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import saccade
from saccade.engine.collect import Collected
from saccade.engine.setup import Unchanged
from saccade.errors import ConfigError
from saccade.models.mae import MaskedOutput, spread_noise
from saccade.models.masked_vit import COLOURS, MaskedViT
from saccade.nn.patches import patchify
from saccade.tasks.masked_image.metrics import MaskedImageMetrics
from saccade.tasks.masked_image.setup import PatchMasking
from saccade.tasks.masked_image.task import LEVELS, MaskedColoursTask, MaskedPixelsTask
from tests.photos import batch_of
from tests.tasks.masked_image.loss import PLAIN, masked_loss


def small_masked_vit() -> MaskedViT:
    options = {"depth": 1, "block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 32, "patch_size": (4, 4)}
    net = saccade.create("masked_vit_ti16", image_size=40, options=options)
    assert isinstance(net, MaskedViT)
    return net


def test_only_masked_patches_count() -> None:
    images = torch.zeros(1, 1, 4, 4)
    patches = torch.zeros(1, 4, 4)
    patches[0, 1] = 2.0  # wrong by 2 everywhere
    patches[0, 3] = 9.0
    mask = torch.tensor([[False, True, True, False]])
    task = MaskedPixelsTask((2, 2), PLAIN, norm_pixels=False)
    outputs = MaskedOutput(patches, mask)
    assert masked_loss(task, outputs, images).item() == pytest.approx((4 + 0) / 2)
    collected = Collected(task.collect(outputs, batch_of(images)), ("",))
    assert task.measure(collected) == MaskedImageMetrics(loss=2.0, images=1)
    two = {"error": torch.tensor([3.0, 5.0]), "num_masked": torch.tensor([1, 3])}
    assert task.measure(Collected(two, ("a", "b"))).loss == 2.0
    assert task.measure(Collected({name: values[:1] for name, values in two.items()}, ("a",))).loss == 3.0
    with pytest.raises(ConfigError, match="no images"):
        task.measure(Collected({}, ()))


def test_a_patch_is_compared_without_its_brightness_and_contrast() -> None:
    images = torch.randn(2, 1, 4, 4)
    outputs = MaskedOutput(torch.randn(2, 4, 4), torch.ones(2, 4, dtype=torch.bool))
    task = MaskedPixelsTask((2, 2), PLAIN)
    plain, brighter = (masked_loss(task, outputs, x).item() for x in (images, 3 * images + 5))
    assert plain == pytest.approx(brighter, rel=1e-4)
    errors = []
    for image, pred in zip(images[:, 0], outputs.pred):
        for patch, one in zip((image[:2, :2], image[:2, 2:], image[2:, :2], image[2:, 2:]), pred):
            target = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()  # the variance of n - 1, as in MAE's code
            errors.append((one - target.flatten()).square().mean().item())
    assert plain == pytest.approx(sum(errors) / 8, rel=1e-5)


def test_colours_are_three_bits_a_channel() -> None:
    levels = torch.zeros(1, 3, 4, 4)
    levels[0, :, :2, 2:] = torch.tensor([1.0, 0.5, 0.13])[:, None, None]
    levels[0, :, 2:, :2] = 0.124
    colours = MaskedColoursTask((2, 2), PLAIN).colours(levels)
    assert colours.tolist() == [[0, 7 + 4 * 8 + 1 * 64, 0, 0]]
    assert LEVELS == COLOURS
    half = MaskedColoursTask((2, 2), PLAIN).colours(torch.tensor([[2.0, 0.0]] * 2).expand(1, 3, 2, 2))
    assert half.tolist() == [[4 + 4 * 8 + 4 * 64]]  # values above white are white
    white = MaskedColoursTask((2, 2), PLAIN).colours(torch.ones(1, 3, 4, 4))
    assert white.tolist() == [[511] * 4]


def test_the_loss_of_colours_is_cross_entropy() -> None:
    images = torch.rand(2, 3, 4, 4)
    task = MaskedColoursTask((2, 2), PLAIN)
    outputs = MaskedOutput(torch.randn(2, 4, 512), torch.tensor([[True, False, True, False]] * 2))
    logs = outputs.pred.log_softmax(-1)
    right = task.colours(images)
    expected = -sum(logs[b, n, right[b, n]] for b in range(2) for n in (0, 2)) / 4
    torch.testing.assert_close(masked_loss(task, outputs, images), expected)


def test_of_the_masked_patches_eight_of_ten_are_replaced_one_is_swapped_and_one_stays() -> None:
    net = small_masked_vit()
    images, noise = torch.randn(1, 3, 40, 40), torch.rand(1, 100)
    inputs_of_blocks: list[torch.Tensor] = []
    net.encoder.blocks.register_forward_pre_hook(lambda module, inputs: inputs_of_blocks.append(inputs[0]))
    output = net(images, noise)
    assert output.mask.sum().item() == 50
    assert noise[output.mask].max() < noise[~output.mask].min()
    embedded = net.encoder.patch_embed(images).tokens
    positions = net.encoder.with_prefix(torch.zeros_like(embedded), (10, 10))[:, 1:]
    tokens = inputs_of_blocks[0][:, 1:] - positions

    def equal(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.isclose(one, other, atol=1e-5).all(dim=-1)

    unchanged, replaced = equal(tokens, embedded)[0], equal(tokens, net.mask_token)[0]
    assert replaced.sum().item() == 40
    assert (unchanged & output.mask[0]).sum().item() == 5
    assert unchanged.sum().item() == 55
    swapped = ~unchanged & ~replaced
    others = torch.cdist(tokens[0][swapped], embedded[0]).argmin(dim=1)
    assert (others != swapped.nonzero().flatten()).all()
    assert len(set(others.tolist())) == 5


def test_it_learns_and_has_no_classes() -> None:
    net = small_masked_vit()
    net(torch.randn(2, 3, 40, 40)).pred.sum().backward()
    assert net.mask_token.grad is not None
    assert torch.equal(net.eval()(torch.ones(2, 3, 40, 40)).mask[0], net(torch.ones(2, 3, 40, 40)).mask[1])
    assert net.embed(torch.randn(1, 3, 40, 80)).shape == (1, net.num_features)
    assert net.features(torch.randn(1, 3, 40, 80))[0].features.shape == (1, 32, 10, 20)
    with pytest.raises(ConfigError, match="no classes"):
        saccade.create("masked_vit_b16", num_classes=3)
    with pytest.raises(ConfigError, match="fractions of one whole"):
        saccade.create("masked_vit_b16", options={"swapped": 0.3})


@pytest.mark.parametrize("name", ["mae_digits", "masked_vit_digits"])
def test_the_number_of_masked_patches_is_known_before_the_forward_pass(name: str) -> None:
    net, images = saccade.create(name), torch.randn(3, 1, 8, 8)
    task = MaskedPixelsTask((2, 2), PLAIN)
    assert task.counts(net, batch_of(images))["masked patches"] == net(images, torch.rand(3, 16)).mask.sum()


def test_training_and_evaluation_mode_mask_the_same_patches_without_noise() -> None:
    net, images = saccade.create("mae_digits"), torch.randn(2, 1, 8, 8)
    assert torch.equal(net.train()(images).mask, net.eval()(images).mask)


def test_masks_are_a_function_of_seed_and_step() -> None:
    masking = PatchMasking(Unchanged(), (2, 2), seed=3)
    batch = batch_of(torch.randn(8, 1, 8, 8))

    def noise(step: int, rows: slice = slice(0, 8), seed: int = 3) -> torch.Tensor:
        part = PatchMasking(Unchanged(), (2, 2), seed)(batch.rows(rows), step=step, rows=rows, batch_size=8)
        assert isinstance(part.labels, dict)
        return part.labels["noise"]

    whole = noise(5)
    assert whole.shape == (8, 16)
    assert torch.equal(torch.cat((noise(5, slice(0, 4)), noise(5, slice(4, 8)))), whole)
    assert not torch.equal(noise(6), whole)
    assert not torch.equal(noise(5, seed=4), whole)
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(masking.plain(batch).labels["noise"], spread_noise(8, 16))  # type: ignore[index]


@pytest.mark.parametrize("norm_pixels", [True, False])
def test_a_right_prediction_is_the_picture(norm_pixels: bool) -> None:
    """Patches of 2 x 4 pixels, one of them of one colour; a prediction that is right, and one that is wrong by 1."""
    images = torch.rand(2, 3, 4, 12, generator=torch.Generator().manual_seed(0))
    images[0, :, :2, :4] = 0.25
    task = MaskedPixelsTask((2, 4), PLAIN, norm_pixels)
    target = patchify(images, (2, 4))
    std = (target.var(-1, keepdim=True) + 1e-6).sqrt()
    pred = (target - target.mean(-1, keepdim=True)) / std if norm_pixels else target
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[:, :2], mask[1, 2] = True, True
    for wrong in (0.0, 1.0):
        outputs = MaskedOutput(pred + wrong, mask)
        torch.testing.assert_close(task.errors(outputs, images), torch.full((2, 6), wrong), atol=1e-4, rtol=0)
        torch.testing.assert_close(task.levels(outputs, images), target + wrong * (std if norm_pixels else 1))
        first, second = task.decode(outputs, batch_of(images))
        assert (first.num_masked, second.num_masked, first.num_patches) == (2, 3, 6)
        assert (first.loss, second.loss) == pytest.approx((wrong, wrong), abs=1e-4)
        assert first.original.shape == (4, 12, 3)
        assert np.abs(first.original / 255 - images[0].permute(1, 2, 0).numpy()).max() < 1 / 255
        assert np.array_equal(first.reconstruction, first.original) == (wrong == 0)
        assert np.array_equal(first.reconstruction[:, 8:], first.original[:, 8:])
        assert len(np.unique(first.masked[:2, :8])) == 1
    nothing, _ = task.decode(MaskedOutput(pred, mask & False), batch_of(images))
    assert nothing.loss == 0
    one, _ = task.decode(MaskedOutput(pred + 1, mask & (torch.arange(6) == 0)), batch_of(images))
    assert one.loss == pytest.approx(1, abs=1e-4)


def test_a_predicted_colour_is_the_middle_of_its_level() -> None:
    images, numbers = torch.zeros(1, 3, 4, 8), torch.tensor([[0, 7 + 4 * 8 + 1 * 64, 511, 8]])
    task = MaskedColoursTask((2, 4), PLAIN)
    outputs = MaskedOutput(F.one_hot(numbers, 512).float(), torch.ones(1, 4, dtype=torch.bool))
    patches = task.levels(outputs, images).unflatten(-1, (2 * 4, 3))
    levels = [[0, 0, 0], [7, 4, 1], [7, 7, 7], [0, 1, 0]]
    assert torch.equal(patches, ((torch.tensor(levels) + 0.5) / 8)[None, :, None].expand(-1, -1, 8, -1))


def test_losses_of_other_targets_are_not_compared() -> None:
    task = MaskedPixelsTask((2, 2), PLAIN)
    assert task.incomparable_metrics(MaskedPixelsTask((2, 2), PLAIN)) == {}
    assert task.incomparable_metrics(MaskedPixelsTask((2, 2), PLAIN, norm_pixels=False)).keys() == {"loss"}


def test_the_encoder_of_an_autoencoder_reads_what_is_visible() -> None:
    net, images = saccade.create("mae_digits").eval(), torch.randn(2, 1, 8, 8)
    task, chosen = MaskedPixelsTask((2, 2), PLAIN), torch.zeros(2, 16, dtype=torch.bool)
    count = int(net(images).mask[0].sum())
    chosen[0, :count], chosen[1, -count:] = True, True
    batch = task.with_masked(batch_of(images)._replace(labels={}), chosen)
    with torch.no_grad():
        outputs = task.eval_step(net, batch)
    assert torch.equal(outputs.mask, chosen)
    encoder, decoder = task.attention_groups(net, outputs, batch)
    assert encoder.keys.subset.tolist() == [0, *(1 + (~chosen[0]).nonzero()[:, 0]).tolist()]  # type: ignore[union-attr]
    assert decoder.keys.subset is None
    assert decoder.keys.layout.grid == (4, 4)  # type: ignore[union-attr]
    _, wide = task.attention_groups(net, outputs, batch_of(torch.zeros(2, 1, 8, 12)))
    assert wide.keys.layout.grid == (4, 6)  # type: ignore[union-attr]
    assert task.attention_groups(torch.nn.Identity(), outputs, batch) == []
    assert task.attention_groups(net, outputs._replace(visible=None), batch) == []
