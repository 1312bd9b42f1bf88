"""The other members of the zoo: counts, costs, sizes, channels, feature maps, configs, training, compile and export."""

import json

import pytest
import torch
from torch import nn

import saccade
from saccade.errors import ConfigError
from saccade.models.cost import measure_cost, whole_blocks
from saccade.models.mae import MaskedAutoencoder
from saccade.models.zoo import architecture_of, build
from saccade.tasks.masked_image.task import MaskedPixelsTask
from tests.tasks.masked_image.loss import PLAIN, masked_loss

COUNTS = {
    "deit_ti16": 5_910_800, "deit_s16": 22_436_432, "deit_b16": 87_338_192,
    "hybrid_r_ti16": 6_337_704, "hybrid_r26_s32": 36_431_912, "mae_b16": 111_907_840,
    "wrn28_10": 36_479_194, "bit_r50x1": 25_549_352, "bit_r101x3": 387_934_888, "bit_r152x4": 936_533_224,
    "convnext_t": 28_589_128, "convnext_s": 50_223_688, "convnext_b": 88_591_464, "convnext_l": 197_767_336,
    "convmixer_768_32": 21_110_248, "convmixer_1536_20": 51_625_960,
    # Of the official code of axial attention; the local ones are 10.3, 14.2 and 18.0 M in the paper's table.
    "axial_resnet26_s": 5_944_936, "axial_resnet50_s": 11_586_216, "axial_resnet50_m": 25_179_400,
    "resnet18_small": 11_173_962, "convmixer_256_8": 594_186,  # the counts that their CIFAR-10 repositories state
    "axial_resnet50_l": 43_973_480, "local_resnet26": 10_342_632, "local_resnet50": 18_038_632,
}  # fmt: skip

# timm's table in GMAC. It counts more than products: see `counted_as_timm_does`.
TABLE = [
    ("vit_s32", 224, 1.15), ("vit_b8", 224, 78.22), ("deit_ti16", 224, 1.27), ("deit_s16", 224, 4.63),
    ("deit_b16", 224, 17.68), ("hybrid_r26_s32", 224, 3.56), ("hybrid_r50_b16", 384, 67.43),
    ("resnet18", 224, 1.82), ("resnet34", 224, 3.67), ("resnet50", 224, 4.11), ("resnet101", 224, 7.83),
    ("resnet152", 224, 11.56), ("wide_resnet50_2", 224, 11.43), ("wide_resnet101_2", 224, 22.80),
    ("vgg11", 224, 7.61), ("vgg16", 224, 15.47), ("vgg19", 224, 19.63), ("convnext_t", 224, 4.47),
    ("convnext_s", 224, 8.71), ("convnext_b", 224, 15.38), ("convnext_l", 224, 34.40),
    ("convmixer_768_32", 224, 19.55), ("convmixer_1536_20", 224, 48.68), ("bit_r50x1", 224, 4.23),
    ("bit_r101x3", 224, 71.23), ("bit_r152x4", 224, 186.9),
]  # fmt: skip

# name -> options that make it small, image size
SMALL = {
    "deit_ti16": ({"depth": 1}, 32),
    "hybrid_r_ti16": ({"depth": 1}, 64),
    "hybrid_r26_s32": ({"depth": 1, "stem.depths": [1, 1], "stem.width": 32}, 64),
    "wrn28_10": ({"layers": 10, "width_factor": 1}, 32),
    "bit_r50x1": ({"depths": [1, 1]}, 64),
    "convnext_t": ({"depths": [1, 1], "widths": [8, 16]}, 32),
    "convmixer_1536_20": ({"depth": 1, "width": 16}, 28),
    "local_resnet26": ({"depths": [1, 1]}, 64),
    "axial_resnet26_s": ({"depths": [1, 1]}, 64),
    "conv_vit7": ({"depth": 1, "channels": [8, 16], "block.embed_dim": 32}, 16),
    "resnet18_small": ({"depths": [1, 1], "width": 8}, 32),
}
STRIDES = {
    "deit_ti16": [16], "hybrid_r_ti16": [4, 32], "hybrid_r26_s32": [4, 8, 8], "wrn28_10": [1, 2, 4],
    "bit_r50x1": [4, 8], "convnext_t": [4, 8], "convmixer_1536_20": [7], "local_resnet26": [4, 8],
    "axial_resnet26_s": [4, 8], "conv_vit7": [2], "resnet18_small": [1, 2],
}  # fmt: skip


def small(name: str, **options) -> nn.Module:
    own, size = SMALL[name]
    return saccade.create(name, num_classes=4, image_size=size, in_channels=2, options={**own, **options})


def counted_as_timm_does(net: nn.Module, image_size: int) -> float:
    """GMAC with what timm's table adds: 5 for each number of a layer or group norm, 2 of a batch norm, 4 for each
    weight that is standardised; and without ConvMixer's depthwise filters, which its counter does not see."""
    products, more = measure_cost(net).macs, 0

    def add(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal more
        more += output.numel() * (2 if isinstance(module, nn.BatchNorm2d) else 5)

    def leave_out(module: nn.Conv2d, inputs: object, output: torch.Tensor) -> None:
        nonlocal more
        more -= output.numel() * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d):
            module.register_forward_hook(add)
        if type(module).__name__ == "StdConv2d":
            more += 4 * module.weight.numel()
        if type(net).__name__ == "ConvMixer" and isinstance(module, nn.Conv2d) and module.groups > 1:
            module.register_forward_hook(leave_out)
    with whole_blocks(net):
        net.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    return (products + more) / 1e9


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_equal_the_reference(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in saccade.create(name).parameters()) == COUNTS[name]


def test_the_large_hybrid_has_the_published_count() -> None:
    with torch.device("meta"):
        net = saccade.create("hybrid_r50_b16", image_size=384)
    assert sum(p.numel() for p in net.parameters()) == 98_950_952


@pytest.mark.parametrize(("name", "image_size", "gmacs"), TABLE)
def test_multiply_adds_equal_the_table(name: str, image_size: int, gmacs: float) -> None:
    with torch.device("meta"):
        net = saccade.create(name, image_size=image_size)
    assert counted_as_timm_does(net, image_size) == pytest.approx(gmacs, abs=0.0051, rel=3e-4)


@pytest.mark.parametrize("name", SMALL)
def test_forward_back_sizes_and_config(name: str) -> None:
    torch.manual_seed(0)
    net = small(name)
    size = net.config.image_size[0]
    net(torch.randn(3, 2, size, size)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert tuple(net.eval()(torch.randn(1, 2, 2 * size, size)).shape) == (1, 4)
    values = json.loads(json.dumps(net.config.to_dict()))
    build(architecture_of(name), values).load_state_dict(net.state_dict())
    own, size = SMALL[name]
    headless = saccade.create(name, num_classes=0, image_size=size, options=own).eval()
    images = torch.randn(1, 3, size, size)
    assert headless.embed(images).shape == (1, headless.num_features)
    assert torch.equal(headless(images), headless.embed(images))


@pytest.mark.parametrize("name", SMALL)
def test_feature_maps_say_their_stride(name: str) -> None:
    net = small(name).eval()
    height, width = net.config.image_size[0] * 2, net.config.image_size[1]
    with torch.no_grad():
        maps = net.features(torch.randn(1, 2, height, width))
    assert [m.stride[0] for m in maps] == STRIDES[name]
    for found in maps:
        assert tuple(found.features.shape[-2:]) == (-(-height // found.stride[0]), -(-width // found.stride[1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_compile_and_export(name: str) -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()  # one forward serves many models here, and each counts as a compilation of it anew
    net = small(name).eval()
    size = net.config.image_size[0]
    images = torch.randn(2, 2, size, size)
    with torch.no_grad():
        plain = net(images)
        compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(images), plain, atol=1e-5, rtol=1e-5)
        exported = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        again = exported.module()(torch.cat((images, images)))
    torch.testing.assert_close(again[:2], plain, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_masked_autoencoder_compiles_and_exports() -> None:
    net = small_mae().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = net(images).pred
        compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(images).pred, plain, atol=1e-5, rtol=1e-5)
        exported = torch.export.export(net, (images,))
    torch.testing.assert_close(exported.module()(images)[0], plain, atol=1e-5, rtol=1e-5)


def small_mae(**options) -> MaskedAutoencoder:
    torch.manual_seed(0)
    sizes = {"depth": 1, "decoder_depth": 1, "patch_size": [8, 8], "decoder.embed_dim": 32, "decoder.num_heads": 4}
    net = saccade.create("mae_b16", image_size=32, options={**sizes, **options})
    assert isinstance(net, MaskedAutoencoder)
    return net


def test_a_masked_autoencoder_masks_by_the_noise() -> None:
    net = small_mae()
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    output = net(images, noise)
    assert output.mask.sum(dim=1).tolist() == [12, 12]
    assert all(noise[i][~output.mask[i]].max() < noise[i][output.mask[i]].min() for i in range(2))
    # Masked pixels have no influence.
    other = images.clone()
    place = output.mask[0].nonzero()[0].item()
    row, column = divmod(place, 4)
    other[0, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 1.0
    assert torch.equal(net(other, noise).pred, output.pred)
    masked_loss(MaskedPixelsTask((8, 8), PLAIN), output, images).backward()
    assert net.encoder.pos_embed.table.grad is None
    assert net.decoder_pred.weight.grad is not None


@pytest.mark.parametrize("norm_pixels", [False, True])
def test_the_masked_loss_equals_the_official_one(norm_pixels: bool, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    from saccade.checkpoints.loading import load_model
    from tests.parity.cases import SMALL_VIT, randomised

    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    settings = transformers.ViTMAEConfig(
        **SMALL_VIT, **decoder, decoder_intermediate_size=64, norm_pix_loss=norm_pixels
    )
    official = randomised(transformers.ViTMAEForPreTraining(settings))
    official.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    net = loaded.model
    assert loaded.task == "masked_image"
    assert isinstance(net, MaskedAutoencoder)
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    with torch.no_grad():
        theirs = official(images, noise=noise)
        output = net(images, noise)
    assert torch.equal(output.mask, theirs.mask.bool())
    torch.testing.assert_close(output.pred, theirs.logits, atol=1e-4, rtol=1e-4)
    task = MaskedPixelsTask((8, 8), PLAIN, norm_pixels)
    torch.testing.assert_close(masked_loss(task, output, images), theirs.loss, atol=1e-5, rtol=1e-5)


def test_a_masked_autoencoder_runs_in_half_precision() -> None:
    net, images = small_mae(), torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        output = net.train()(images)
        masked_loss(MaskedPixelsTask((8, 8), PLAIN), output, images).backward()
    assert output.pred.isfinite().all()


def test_images_come_back_from_patches() -> None:
    from saccade.models.mae import MaskedOutput
    from saccade.nn.patches import patchify

    net, images = small_mae(), torch.randn(2, 3, 32, 32)
    output = MaskedOutput(patchify(images, (8, 8)), torch.zeros(2, 16, dtype=torch.bool))
    assert torch.equal(net.images(output, (4, 4)), images)


def test_a_distilled_vit_averages_its_heads() -> None:
    net = small("deit_ti16").eval()
    images = torch.randn(2, 2, 32, 32)
    label, teacher = net.logits(images)
    assert not torch.allclose(label, teacher)
    torch.testing.assert_close(net(images), (label + teacher) / 2)


def test_a_hybrids_tokens_lie_over_the_image() -> None:
    net = small("hybrid_r26_s32")
    layout = net.token_layout((64, 128))
    assert (layout.grid, layout.stride) == ((8, 16), (8, 8))
    with saccade.record(net.eval()) as trace:
        net(torch.randn(1, 2, 64, 128))
    assert trace.layout == layout


def test_a_small_local_resnet() -> None:
    """Two stages of 16 and 32 channels in the middle: 4 x 32 features."""
    net = saccade.create("local_resnet26", in_channels=1, num_classes=10, options={"depths": [1, 1], "width": 16})
    assert net.num_features == 128
    assert net(torch.randn(2, 1, 24, 24)).shape == (2, 10)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match="6 n"):
        saccade.create("wrn28_10", options={"layers": 27})
    with pytest.raises(ConfigError, match="no classes"):
        saccade.create("mae_b16", num_classes=3)
    with pytest.raises(ValueError, match="28 x 28"):
        small("convmixer_1536_20")(torch.randn(1, 2, 30, 30))
