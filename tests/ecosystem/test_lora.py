"""LoRA (Hu et al., arXiv 2106.09685) by `peft` on every linear map changes the output and is trained."""

import pytest
import torch
from torch import Tensor, nn

import saccade

SMALL = {"block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 48}
MODELS: dict[str, dict] = {
    "vit_digits": {"depth": 2, **SMALL},
    "detr_small": {"encoder_depth": 1, "decoder_depth": 1, "backbone_config.image_size": (64, 64), **SMALL},
    "clip_small": {"text.depth": 1, "text.block.dropout": 0.0},
    "seq2seq_small": {"encoder_depth": 1, "decoder_depth": 1, "block.dropout": 0.0},
    "perceiver_digits": {"latents.depth": 1},
}
MLP = ("proj", "fc1", "fc2")
PARTS: dict[str, tuple[str, ...]] = {
    "vit_digits": ("qkv", *MLP),
    "detr_small": ("q", "k", "v", *MLP),
    "clip_small": ("qkv", *MLP),
    "seq2seq_small": ("qkv", "q", "k", "v", *MLP),
    "perceiver_digits": ("qkv", "q", "k", "v", *MLP),
}


def output(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """All floating-point tensors of a model's output, side by side."""
    values = model(*inputs)
    tensors = values if isinstance(values, tuple) else (values,)
    return torch.cat([t.flatten() for t in tensors if isinstance(t, Tensor) and t.is_floating_point()])


@pytest.mark.parametrize(("name", "target"), [(name, part) for name in MODELS for part in PARTS[name]])
def test_lora_changes_the_output_and_is_trained(name: str, target: str) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = saccade.create(name, options=MODELS[name]).eval()
    for parameter in model.parameters():  # else the queries of a fresh DETR enter as zeros, behind norms without biases
        parameter.data += 0.02 * torch.randn_like(parameter)
    linears = [path for path, m in model.named_modules() if path.endswith(f".{target}") and isinstance(m, nn.Linear)]
    inputs = model.example_inputs(2)
    before = output(model, inputs)
    config = peft.LoraConfig(r=2, target_modules=linears, init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    after = output(adapted, inputs)
    assert (after - before).abs().max() > 1e-3
    (after * torch.randn_like(after)).sum().backward()
    trained = {path: p for path, p in adapted.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * len(linears)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trained.values())
