"""AttnLRP: the paper's formulas written out, conservation, the authors' package, every family, refusals."""

import importlib.util
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.analysis.attnlrp import (
    activation_rule,
    attnlrp_map,
    by_patch,
    gate_rule,
    has_rules,
    layer_norm_rule,
    relevance_rules,
)
from saccade.analysis.image_maps import image_map
from saccade.errors import ConfigError, RecordingError
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.mlp import SwiGLU
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import Block, BlockConfig
from tests.analysis.test_points import IMAGE, created


def relevance_of(model: nn.Module, x: Tensor, score: Tensor | None = None) -> Tensor:
    """What AttnLRP gives to the input of a module, from the sum of its outputs weighted by `score`."""
    x = x.clone().requires_grad_()
    with relevance_rules(model):
        y = model(x)
        (gradient,) = torch.autograd.grad(y if score is None else y * score, [x], torch.ones_like(y))
    return (x * gradient).detach()


def test_a_linear_network_has_its_contributions() -> None:
    """Without biases the relevance of x_i for output j is (W₂ W₁)_ji x_i, and it sums to the output."""
    torch.manual_seed(0)
    first, second = nn.Linear(5, 4, bias=False).double(), nn.Linear(4, 3, bias=False).double()
    x = torch.randn(1, 5, dtype=torch.double)
    score = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.double)
    relevance = relevance_of(nn.Sequential(first, second), x, score)
    expected = (second.weight @ first.weight)[1] * x
    torch.testing.assert_close(relevance, expected.detach())
    assert relevance.sum().item() == pytest.approx(second(first(x))[0, 1].item())


def test_a_bias_absorbs_its_share() -> None:
    linear = nn.Linear(1, 1)
    nn.init.constant_(linear.weight, 2.0)
    nn.init.constant_(linear.bias, 1.0)
    assert relevance_of(linear, torch.tensor([[3.0]])).item() == pytest.approx(6.0)  # of the output 7


@pytest.mark.parametrize("name", ["GELU", "SiLU", "Tanh", "ReLU"])
def test_activations_and_norms_pass_relevance_on(name: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 8, bias=False), getattr(nn, name)(), nn.LayerNorm(8), nn.Linear(8, 1, bias=False)
    )
    network = network.double()
    nn.init.normal_(network[2].weight)
    x = torch.randn(2, 3, 6, dtype=torch.double)
    relevance = relevance_of(network, x)
    torch.testing.assert_close(relevance.sum(-1, keepdim=True), network(x).detach())


def test_the_rules_change_no_value() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8)
    x[0, 0] = 0.0
    for module, rule in ((nn.GELU(), activation_rule), (nn.LayerNorm(8), layer_norm_rule), (SwiGLU(), gate_rule)):
        torch.testing.assert_close(rule(module, x, module(x)), module(x), rtol=0, atol=0)


def test_other_threads_have_their_own_gradients() -> None:
    torch.manual_seed(0)
    block = Block(BlockConfig(8, 2, 16)).eval()
    x = torch.randn(1, 5, 8)
    gradients: list[Tensor] = []

    def plain() -> None:
        leaf = x.clone().requires_grad_()
        gradients.extend(torch.autograd.grad(block(leaf).square().sum(), [leaf]))

    plain()
    with relevance_rules(block):
        other = threading.Thread(target=plain)
        other.start()
        other.join()
        plain()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)
    assert not torch.allclose(gradients[2], gradients[0])


def test_a_gate_shares_equally() -> None:
    x = torch.tensor([[2.0, -3.0]])
    y = SwiGLU()(x)
    torch.testing.assert_close(relevance_of(SwiGLU(), x), torch.stack((y / 2, y / 2), dim=-1)[:, 0])


def test_one_attention_head_by_hand() -> None:
    """The formulas of the paper, one after the other, without a gradient."""
    torch.manual_seed(0)
    width, tokens = 4, 3
    attention = MultiHeadAttention(width, 1, qkv_bias=False).double()
    nn.init.zeros_(attention.proj.bias)
    nn.init.normal_(attention.qkv.weight)
    x = torch.randn(1, tokens, width, dtype=torch.double)
    score = torch.randn(1, tokens, width, dtype=torch.double)
    relevance = relevance_of(attention, x, score)[0]

    x, w = x[0], attention.qkv.weight.detach()
    w_q, w_k, w_v = w.split(width)
    q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T
    scores = q @ k.T / width**0.5
    a = scores.softmax(-1)
    o = a @ v
    p = attention.proj.weight.detach()
    z = o @ p.T
    r_z = z * score[0]

    def linear(inputs: Tensor, weight: Tensor, outputs: Tensor, r: Tensor) -> Tensor:
        return inputs * ((r / outputs) @ weight)  # ε rule, ε = 0

    r_o = linear(o, p, z, r_z)
    r_a, r_v = a * ((r_o / o) @ v.T) / 2, v * (a.T @ (r_o / o)) / 2  # uniform rule
    assert (r_a.sum() + r_v.sum()).item() == pytest.approx(r_o.sum().item())
    r_s = scores * (r_a - a * r_a.sum(-1, keepdim=True))  # softmax
    shares = r_s / scores / width**0.5
    r_q, r_k = q * (shares @ k) / 2, k * (shares.T @ q) / 2  # uniform rule
    assert (r_q.sum() + r_k.sum()).item() == pytest.approx(r_s.sum().item())
    expected = linear(x, w_q, q, r_q) + linear(x, w_k, k, r_k) + linear(x, w_v, v, r_v)
    torch.testing.assert_close(relevance, expected)


def test_a_block_with_even_attention_conserves_relevance() -> None:
    """Queries of zeros: the softmax is even, and what reaches the queries and keys is nothing of the score."""
    torch.manual_seed(0)
    block = Block(BlockConfig(8, 2, 16, qkv_bias=False)).double().eval()
    for module in block.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.zeros_(block.attn.qkv.weight[:16].data)
    x = torch.randn(1, 5, 8, dtype=torch.double)
    relevance = relevance_of(block, x)
    lost = block(x).sum().item() - relevance.sum().item()
    with torch.no_grad():
        branch = block.ls1(block.attn(block.norm1(x)))
    # The uniform rule hands half of what the attention branch carries to its weights, where the softmax absorbs it.
    through = relevance_of(nn.Sequential(block.norm2, block.mlp), x + branch)
    total = (x + branch) + through
    expected = (branch * total / (x + branch)).sum().item() / 2
    assert lost == pytest.approx(expected)


def lxt_modules() -> tuple[types.ModuleType, types.ModuleType]:
    """The rules and patches of the authors' package, without its patched copies of models: those need modules that
    later versions of transformers no longer have."""
    spec = importlib.util.find_spec("lxt")
    if spec is None or spec.origin is None:
        pytest.skip("lxt is not installed: pip install --no-deps lxt")
    loaded = []
    for name in ("rules", "patches"):
        path = Path(spec.origin).parent / "efficient" / f"{name}.py"
        full = f"lxt.efficient.{name}"
        source = importlib.util.spec_from_file_location(full, path)
        assert source is not None
        assert source.loader is not None
        module = importlib.util.module_from_spec(source)
        sys.modules[full] = module
        source.loader.exec_module(module)
        loaded.append(module)
    return loaded[0], loaded[1]


def test_relevance_is_that_of_the_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    for name in ("lxt.efficient", "lxt.efficient.rules", "lxt.efficient.patches"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))  # gone again afterwards
    _, patches = lxt_modules()
    from transformers.models.vit import modeling_vit

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, image_size=32, patch_size=8,
        num_labels=5,
    )  # fmt: skip
    config._attn_implementation = "eager"
    theirs = transformers.ViTForImageClassification(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    ours = saccade.load(tmp_path)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.model(image), theirs(image).logits, rtol=1e-4, atol=1e-4)

    monkeypatch.setattr(
        modeling_vit, "eager_attention_forward", patches.wrap_attention_forward(modeling_vit.eager_attention_forward)
    )
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.forward = types.MethodType(patches.layer_norm_forward, module)
        elif "GELU" in type(module).__name__:
            patches.patch_method(types.MethodType(patches.non_linear_forward, module), module, keep_original=True)
    tokens: list[Tensor] = []
    handle = theirs.vit.embeddings.register_forward_hook(lambda module, args, output: tokens.append(output))
    score = theirs(image).logits[0, 3]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, [tokens[0]])
    expected = (tokens[0] * gradient).sum(-1)[0, 1:].view(4, 4).detach()
    torch.testing.assert_close(attnlrp_map(ours, image, 3).values, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["vit_digits", "conv_vit_digits", "deit_ti16", "hybrid_r_ti16"])
def test_families(name: str) -> None:
    predictor = created(name, "classification")
    torch.manual_seed(0)
    for path, parameter in predictor.model.named_parameters():
        if "head" in path:
            nn.init.normal_(parameter)
    one, two = (image_map(predictor, IMAGE, "attnlrp", target=target).values for target in ("1", "2"))
    assert one.shape == two.shape == predictor.model.token_layout().grid
    assert not np.allclose(one, two)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in predictor.model.modules())
    assert all(m.edit is None for m in predictor.model.modules() if isinstance(m, MultiHeadAttention))


def test_a_query_of_a_detector() -> None:
    predictor = created("detr_small", "detection")
    inputs = predictor.prepare(IMAGE)[None]
    first, second = (attnlrp_map(predictor, inputs, 0, query=query).values for query in (0, 5))
    assert tuple(first.shape) == predictor.model.token_layout(tuple(inputs.shape[-2:])).grid
    assert not torch.allclose(first, second)


def test_a_place_of_a_dense_output() -> None:
    predictor = created("dpt_small", "depth")
    first, second = (image_map(predictor, IMAGE, "attnlrp", point=point).values for point in ((0.1, 0.1), (0.9, 0.8)))
    assert first.shape == (8, 8)
    assert not np.allclose(first, second)
    with pytest.raises(ConfigError, match="at one place"):
        image_map(predictor, IMAGE, "attnlrp")


def test_pixels_sum_to_the_patches() -> None:
    values = torch.arange(30.0).view(5, 6)
    layout = TokenLayout(0, (2, 2), (3, 4))
    expected = torch.tensor(
        [[values[:3, :4].sum(), values[:3, 4:].sum()], [values[3:, :4].sum(), values[3:, 4:].sum()]]
    )
    torch.testing.assert_close(by_patch(values, layout), expected)
    predictor = created("vit_digits", "classification")
    inputs = predictor.prepare(IMAGE)[None]
    assert attnlrp_map(predictor, inputs, 1, pixels=True).values.shape == (8, 8)


def test_refusals() -> None:
    with pytest.raises(RecordingError, match="no tokens over an image"):
        image_map(created("lenet", "classification"), IMAGE, "attnlrp")
    axial = created("axial_resnet26_s", "classification")
    assert not has_rules(axial.model)
    with pytest.raises((ConfigError, RecordingError), match="no tokens over an image"):
        image_map(axial, IMAGE, "attnlrp")
    predictor = created("vit_digits", "classification")
    predictor.model.head = nn.Sequential(nn.Linear(predictor.model.num_features, 10), nn.Softplus())  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"no rule for head\.1, a Softplus"):
        image_map(predictor, IMAGE, "attnlrp")
    whole = created("vit_digits", "classification")
    with saccade.intervene(whole.model, heads={0: [1]}), pytest.raises(RecordingError, match="end it first"):
        image_map(whole, IMAGE, "attnlrp")
