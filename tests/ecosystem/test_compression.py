"""PyTorch's own pruning and dynamic quantisation act on every linear map of a ViT."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import saccade


@pytest.fixture
def vit() -> nn.Module:
    torch.manual_seed(0)
    return saccade.create("vit_digits").eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated.*:DeprecationWarning")
def test_dynamic_quantisation(vit: nn.Module, images: Tensor) -> None:
    from torch.ao.nn.quantized import dynamic
    from torch.ao.quantization import quantize_dynamic

    count = sum(isinstance(module, nn.Linear) for module in vit.modules())
    quantised = quantize_dynamic(vit, {nn.Linear}, dtype=torch.qint8)
    assert sum(isinstance(module, dynamic.Linear) for module in quantised.modules()) == count
    exact, rounded = vit(images), quantised(images)
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).abs().max() < 0.05 * exact.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("name", ["qkv", "proj", "fc1", "fc2"])
def test_pruning(name: str, vit: nn.Module, images: Tensor) -> None:
    before = vit(images)
    layers = [m for path, m in vit.named_modules() if path.endswith(f".{name}") and isinstance(m, nn.Linear)]
    for layer in layers:
        prune.l1_unstructured(layer, "weight", amount=0.5)
    pruned = vit(images)
    assert (pruned - before).abs().max() > 1e-3
    for layer in layers:
        prune.remove(layer, "weight")
        assert (layer.weight == 0).float().mean() == pytest.approx(0.5, abs=1e-3)
    assert torch.equal(vit(images), pruned)
