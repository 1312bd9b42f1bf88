"""Feature maps of chosen layers: timm's numbers, and gradients."""

import pytest
import timm
import torch
from safetensors.torch import save_file

import saccade

PAIRS = {  # ours, timm's, layers
    "vit_ti16": ("vit_tiny_patch16_224", [2, 5, -1]),
    "deit_ti16": ("deit_tiny_distilled_patch16_224", [0, 7]),
    "resnet18": ("resnet18", [0, 3]),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_layers_equal_timms_intermediates(name: str, size: tuple[int, int], tmp_path) -> None:
    timm_name, layers = PAIRS[name]
    torch.manual_seed(0)
    options = {"img_size": size} if "vit" in timm_name or "deit" in timm_name else {}
    theirs = timm.create_model(timm_name, num_classes=3, **options).eval()
    path = tmp_path / f"{timm_name}.safetensors"
    save_file(theirs.state_dict(), path)
    ours = saccade.load(path, image_size=size).model
    images = torch.randn(2, 3, *size)
    indices = [i + 1 if i >= 0 else i for i in layers] if name == "resnet18" else layers  # timm counts the stem
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, indices=indices, intermediates_only=True)
        actual = ours.features(images, layers=layers)
    for ours_map, theirs_map in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours_map.features, theirs_map, atol=1e-4, rtol=1e-4)
        assert ours_map.stride == (size[0] // theirs_map.shape[2], size[1] // theirs_map.shape[3])


MODELS = {
    "vit_digits": {}, "deit_ti16": {"image_size": 32}, "hybrid_r_ti16": {"image_size": 64}, "mae_digits": {},
    "conv_vit_digits": {}, "resnet18_small": {}, "detr_small": {}, "dpt_small": {}, "dpt_small_hybrid": {},
    "clip_small": {}, "lenet": {}, "yolo_small": {},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_family_gives_layers_in_their_order_with_gradients(name: str) -> None:
    torch.manual_seed(0)
    net = saccade.create(name, **MODELS[name]).eval()
    images = net.example_inputs(1)[0]
    first, last = net.features(images, layers=[0, -1])
    again, before = net.features(images, layers=[-1, 0])
    assert torch.equal(first.features, before.features)
    assert torch.equal(last.features, again.features)
    assert first.features.shape != last.features.shape or not torch.equal(first.features, last.features)
    (first.features.square().mean() + last.features.square().mean()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    with pytest.raises(ValueError, match=r"there is no (block|feature map) 99: they are 0 to"):
        net.features(images, layers=[99])
