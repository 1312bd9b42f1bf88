"""The convolutional networks: sizes, channels, feature maps, and that they learn, compile and export."""

import json

import pytest
import torch

import saccade
from saccade.errors import ConfigError
from saccade.models.zoo import build

COUNTS = {
    "lenet": 61_706, "alexnet": 61_100_840, "vgg11": 132_863_336, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "wide_resnet50_2": 68_883_240, "wide_resnet101_2": 126_886_696,
}  # fmt: skip
LIGHT = ["lenet", "resnet18"]


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_equal_the_published_table(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in saccade.create(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", [n for n in saccade.list_models() if not n.startswith("vit")])
def test_batch_norm_variants_equal_torchvisions(name: str) -> None:
    import torchvision.models

    if not hasattr(torchvision.models, name):
        pytest.skip("torchvision has no such model")
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(weights=None)
        ours = saccade.create(name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("name", LIGHT)
def test_forward_back_config_and_channels(name: str) -> None:
    net = saccade.create(name, num_classes=4, in_channels=2, image_size=64)
    net(torch.randn(2, 2, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    values = json.loads(json.dumps(net.config.to_dict()))
    build(saccade.models.zoo.architecture_of(name), values).load_state_dict(net.state_dict())
    headless = saccade.create(name, num_classes=0, in_channels=2, image_size=64)
    assert headless(torch.randn(2, 2, 64, 64)).shape == (2, headless.num_features)


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg11", "resnet18"])
def test_the_head_reads_the_embedding(name: str) -> None:
    net = saccade.create(name, num_classes=3).eval()
    images = torch.randn(1, net.config.in_channels, *net.config.image_size)
    with torch.no_grad():
        embedding = net.embed(images)
        assert embedding.shape == (1, net.num_features)
        assert torch.equal(net.head(embedding), net(images))


def test_feature_maps_say_their_stride() -> None:
    for name, strides in (("alexnet", [8, 16, 32]), ("vgg11", [2, 4, 8, 16, 32]), ("lenet", [2, 4])):
        with torch.device("meta"):
            net = saccade.create(name)
            size = net.config.image_size
            maps = net.features(torch.empty(1, net.config.in_channels, *size))
        assert [m.stride[0] for m in maps] == strides
        for found in maps:
            assert abs(found.features.shape[-1] - size[1] / found.stride[1]) <= 3


def test_vits_have_a_map_too() -> None:
    net = saccade.create("vit_digits")
    (found,) = net.features(torch.randn(2, 1, 8, 12))
    assert tuple(found.features.shape) == (2, 64, 4, 6)
    assert found.stride == (2, 2)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match="at least 16 x 16"):
        saccade.create("lenet", image_size=12)
    with pytest.raises(ValueError, match="takes"):
        saccade.create("lenet")(torch.randn(1, 1, 40, 40))
    with pytest.raises(ConfigError, match="bottlenecks"):
        saccade.create("resnet18", options={"width_factor": 2})
    assert saccade.create("lenet").token_layout() is None


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_compile_and_export(name: str) -> None:
    net = saccade.create(name, num_classes=3, image_size=32).eval()
    images = torch.randn(2, net.config.in_channels, 32, 32)
    plain = net(images)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), plain, atol=1e-5, rtol=1e-5)
    exported = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(exported.module()(torch.cat((images, images)))[:2], plain, atol=1e-5, rtol=1e-5)


def test_a_resnet_trains_on_photographs_with_a_report(tmp_path) -> None:
    from saccade.cli.main import main
    from tests.photos import make_photos

    photos = make_photos(tmp_path / "photos", count=12)
    arguments = ["--model", "resnet18", "--image-size", "32", "--steps", "3", "--batch-size", "8", "--workers", "0"]
    quick = ["--set", "model.options={depths: [1, 1, 1, 1], width: 8}", "--output", str(tmp_path / "run")]
    assert main(["train", str(photos), *arguments, *quick]) == 0
    assert "Reproduce" in (tmp_path / "run/report.html").read_text()
    assert main(["explain", str(tmp_path / "run"), str(photos / "cat/0.png"), "-o", str(tmp_path / "a.png")]) == 0
