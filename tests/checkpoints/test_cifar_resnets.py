"""ResNets for CIFAR, as the repositories that are used most write them."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.resnet import BasicBlock, ResNet, conv1x1

from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.errors import CheckpointError
from saccade.models.resnet import ResNetConfig


class CifarResNet(ResNet):
    """Three stages behind a 3 x 3 convolution, of torchvision's own blocks: what chenyaofo's repository builds."""

    def __init__(self, depth: int, num_classes: int):
        super().__init__(BasicBlock, [1, 1, 1, 1])
        self.conv1, self.bn1, self.inplanes = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16), 16
        self.layer1 = self._make_layer(BasicBlock, 16, depth)
        self.layer2 = self._make_layer(BasicBlock, 32, depth, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 64, depth, stride=2)
        self.maxpool, self.layer4 = torch.nn.Identity(), torch.nn.Identity()
        self.fc = torch.nn.Linear(64, num_classes)


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """With statistics of batch norms other than those of a new model."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def option_a(state: dict[str, Tensor], images: Tensor, depth: int) -> Tensor:
    """Logits of a network whose shortcuts have no parameters (akamaster's), from its tensors."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.relu(norm(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            planes = y.shape[1] // 4
            x = F.relu(y + (F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes, planes)) if stride == 2 else x))
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def agree(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5 * first.abs().max().item())


@pytest.mark.parametrize(("num_classes", "mean"), [(10, 0.4914), (100, 0.5070), (7, 0.485)])
@torch.no_grad()
def test_three_stages_with_the_names_of_torchvision(num_classes: int, mean: float, tmp_path: Path) -> None:
    published = randomised(CifarResNet(3, num_classes))
    torch.save(published.state_dict(), tmp_path / "cifar_resnet20.pt")
    loaded = load_model(tmp_path / "cifar_resnet20.pt")
    assert loaded.model.config == ResNetConfig(
        "basic", (3, 3, 3), image_size=(32, 32), num_classes=num_classes, width=16, small_images=True
    )
    images = torch.randn(2, 3, 32, 32)
    agree(published(images), loaded.model(images))
    preprocessing = loaded.preprocessing
    assert preprocessing is not None
    assert (preprocessing.mean[0], preprocessing.crop_pct) == (mean, 1.0)


@torch.no_grad()
def test_shortcuts_without_parameters(tmp_path: Path) -> None:
    network = randomised(CifarResNet(2, 10))
    names = {n: t for n, t in network.state_dict().items() if ".downsample." not in n}
    names = {n.replace("fc.", "linear."): t for n, t in names.items() if not n.endswith("num_batches_tracked")}
    state = {f"module.{n}": t for n, t in names.items()}  # as written by DataParallel, before PyTorch 0.4.1
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "resnet14.th")
    loaded = load_model(tmp_path / "resnet14.th")
    assert loaded.model.config.shortcut == "padding"
    assert loaded.report.new == []
    for side in (32, 30):
        images = torch.randn(2, 3, side, side)
        agree(option_a(names, images, 2), loaded.model(images))
    save_model_dir(tmp_path / "model", loaded)
    agree(loaded.model(images), load_model(tmp_path / "model").model(images))


@torch.no_grad()
def test_four_stages_with_the_names_of_kuangliu(tmp_path: Path) -> None:
    network = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    network.conv1, network.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    randomised(network)
    state = {n.replace("downsample", "shortcut").replace("fc.", "linear."): t for n, t in network.state_dict().items()}
    torch.save({"net": state, "acc": 95.4, "epoch": 199}, tmp_path / "ckpt.pth")
    loaded = load_model(tmp_path / "ckpt.pth")
    images = torch.randn(2, 3, 32, 32)
    agree(network(images), loaded.model(images))


def test_another_network_is_refused(tmp_path: Path) -> None:
    network = CifarResNet(2, 10)
    network.layer2[0].downsample[0] = torch.nn.Sequential(conv1x1(16, 32, 2), torch.nn.BatchNorm2d(32))
    torch.save(network.state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"without a place in the model: layer2.0.downsample.0.0.weight"):
        load_model(tmp_path / "other.pth")


@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_no_library_has_it(to: str, tmp_path: Path) -> None:
    torch.save(CifarResNet(2, 10).state_dict(), tmp_path / "resnet.pt")
    out = tmp_path / ("out.pth" if to == "torchvision" else "out")
    with pytest.raises(CheckpointError, match=r"no resnet with small_images=True, depths=\(2, 2, 2\)"):
        convert(tmp_path / "resnet.pt", out, to)  # type: ignore[arg-type]
