"""What a model is not: sentences in place of PyTorch's errors at the doors, at no cost to what is traced."""

import pytest
import torch

import saccade
from saccade.errors import CheckpointError, ConfigError
from saccade.models.names import name_here
from saccade.models.zoo import create

SMALL = {
    "vit_digits": {}, "deit_ti16": {"depth": 1}, "hybrid_r_ti16": {"depth": 1}, "conv_vit7": {"depth": 1},
    "mae_digits": {}, "masked_vit_digits": {}, "lenet": {}, "resnet18_small": {"width": 8}, "resnet18": {"width": 8},
    "vgg11": {}, "alexnet": {},
    "convnext_t": {"depths": (1, 1, 1, 1), "widths": (16, 16, 16, 16)}, "convmixer_256_8": {"depth": 1},
    "bit_r50x1": {"depths": (1, 1)}, "wrn28_10": {"layers": 10, "width_factor": 1}, "local_resnet26": {},
    "axial_resnet26_s": {}, "perceiver_digits": {}, "yolo_small": {}, "detr_small": {}, "dpt_small": {},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_what_is_no_batch_of_images(name: str) -> None:
    model = create(name, options=SMALL[name]).eval()
    channels, size = model.config.in_channels, model.config.image_size
    with pytest.raises(ValueError, match=rf"has in_channels={channels}, and the images \[1, 7, .* in_channels=7"):
        model(torch.zeros(1, 7, *size))
    with pytest.raises(ValueError, match=rf"a batch of images \[B, {channels}, H, W\], not one image .*images\[None\]"):
        model(torch.zeros(channels, *size))
    with pytest.raises(ValueError, match=r"floating point, not torch.uint8"):
        model(torch.zeros(1, channels, *size, dtype=torch.uint8))


def test_channels_last_are_named() -> None:
    with pytest.raises(ValueError, match=r"permute\(0, 3, 1, 2\)"):
        create("vit_ti16", image_size=32, options={"depth": 1})(torch.zeros(1, 32, 32, 3))


@pytest.mark.parametrize("name", ["vit_digits", "resnet18_small", "resnet18"])
def test_what_is_traced_has_no_check(name: str) -> None:
    model = create(name, options=SMALL[name]).eval()
    images = model.example_inputs()
    exported = torch.export.export(model, images)
    assert not any("require" in str(node.target) for node in exported.graph.nodes)
    expected = model(*images)
    torch.testing.assert_close(exported.module()(*images), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(*images), expected)


NUMBERS = [
    ({"num_classes": -1}, "num_classes must be a whole number of at least 0, not -1"),
    ({"num_classes": 10.0}, "num_classes must be a whole number of at least 0, not 10.0"),
    ({"in_channels": 0}, "in_channels must be a whole number of at least 1, not 0"),
    ({"image_size": 0}, "image_size must be a height and a width in pixels"),
    ({"image_size": (224,)}, "image_size must be a height and a width in pixels"),
]


@pytest.mark.parametrize(("arguments", "message"), NUMBERS)
def test_numbers_that_no_model_has(arguments: dict, message: str) -> None:
    for name in ("vit_ti16", "resnet18", "detr_small"):
        with pytest.raises(ConfigError, match=message):
            create(name, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"img_size": 64}, r"no argument img_size \(here: image_size\)"),
        ({"in_chans": 1}, r"no argument in_chans \(here: in_channels\)"),
        ({"pretrained": True}, r"no argument pretrained \(here: saccade.load"),
        ({"sizes": 1}, r"no argument sizes$"),
    ],
)
def test_arguments_of_other_libraries(arguments: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        create("vit_ti16", **arguments)
    with pytest.raises(TypeError, match=message):
        saccade.load("nothing", **arguments)


NAMES = {
    "vit_tiny_patch16_224": "vit_ti16", "vit_base_patch16_224.augreg_in21k": "vit_b16",
    "vit_large_patch32_384": "vit_l32",
    "vit_huge_patch14_clip_224": "vit_h14", "deit_tiny_patch16_224": "deit_ti16",
    "deit_base_distilled_patch16_384": "deit_b16", "resnet50.a1_in1k": "resnet50", "vgg16_bn.tv_in1k": "vgg16_bn",
    "vit_b_16": "vit_b16", "ViT-B/32": "clip_vit_b32", "ViT-B-16": "clip_vit_b16", "convnext_tiny": "convnext_t",
    "resnetv2_50x1_bit.goog_in21k": "bit_r50x1", "vit_base_r50_s16_384": "hybrid_r50_b16",
    "vit_small_r26_s32_224": "hybrid_r26_s32", "google/vit-base-patch16-224": "vit_b16",
    "facebook/detr-resnet-50": "detr_r50", "facebook/deit-small-patch16-224": "deit_s16",
    "openai/clip-vit-base-patch32": "clip_vit_b32", "microsoft/resnet-50": "resnet50",
    "facebook/convnext-tiny-224": "convnext_t",
    "facebook/vit-mae-base": "mae_b16", "swin_tiny_patch4_window7_224": None, "efficientnet_b0": None,
    "vit_small_patch14_dinov2": "dinov2_s14", "runs/digits": None,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_other_libraries(name: str) -> None:
    assert name_here(name) == NAMES[name]
    here = NAMES[name]
    with pytest.raises(ConfigError, match=f"; .*{here or ''}"):
        create(name)
    with pytest.raises(CheckpointError, match=f"there is no {name}: .*{here or ''}"):
        saccade.load(name)


def test_hub_names_and_fresh_models() -> None:
    with pytest.raises(CheckpointError, match=r"saccade.load\('hub:google/vit-base-patch16-224'\) opens it"):
        saccade.load("google/vit-base-patch16-224")
    with pytest.raises(CheckpointError, match="there is no runs/digits: give a run, a model directory or a"):
        saccade.load("runs/digits")
    with pytest.raises(CheckpointError, match=r"saccade.create\('vit_ti16'\) builds this model with fresh weights"):
        saccade.load("vit_ti16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_devices_that_are_not_there(tmp_path) -> None:
    for device, message in (("cuda", "PyTorch sees 0 GPUs"), ("gpu", "'gpu' is no device: use auto, cpu, cuda")):
        with pytest.raises(ConfigError, match=message):
            saccade.load(tmp_path, device=device)
