"""A last block of which only the first tokens are needed gives these tokens as the whole block does."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.errors import RecordingError
from saccade.models.vit import VisionTransformer, vit_digits_config
from saccade.nn.transformer import Block, BlockConfig, Encoder


def random_block(*, norm: str = "pre", positions: bool = False, dropout: float = 0.0) -> Block:
    config = BlockConfig(16, 2, 32, norm=norm, layer_scale=0.5, dropout=dropout)  # type: ignore[arg-type]
    block = Block(config, positions=positions, drop_path=dropout).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


def masks() -> dict[str, Tensor | None]:
    keys = torch.tensor([True, True, True, False, True, True, False])
    return {"none": None, "keys": keys.expand(3, 1, 1, 7), "pairs": torch.ones(7, 7, dtype=torch.bool).tril()}


@pytest.mark.parametrize("mask", ["none", "keys", "pairs"])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("leading", [1, 2, 7])
def test_block(norm: str, mask: str, leading: int) -> None:
    torch.manual_seed(0)
    block, x = random_block(norm=norm), torch.randn(3, 7, 16, dtype=torch.float64)
    expected = block(x, mask=masks()[mask])[:, :leading]
    torch.testing.assert_close(block(x, mask=masks()[mask], leading=leading), expected, rtol=1e-12, atol=1e-12)


def test_separate_projections() -> None:
    torch.manual_seed(0)
    attention = random_block(positions=True).attn
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    first, others = attention.leading(x, 2, rest=True)
    torch.testing.assert_close(torch.cat((first, others), dim=1), attention(x), rtol=1e-12, atol=1e-12)
    assert torch.equal(attention.leading(x, 2)[0], first)


@pytest.mark.parametrize("name", ["vit_digits", "deit_ti16"])
def test_models_have_equal_outputs_and_gradients(name: str) -> None:
    """Every parameter's gradient is that of the whole last block."""
    torch.manual_seed(0)
    model = (
        saccade.create(name, image_size=(32, 32)).double() if name != "vit_digits" else saccade.create(name).double()
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    inputs = model.example_inputs(2)[0].double()

    def run() -> tuple[Tensor, ...]:
        logits = model(inputs)
        return logits, *torch.autograd.grad(logits[:, 3].sum(), list(model.parameters()))

    pruned = run()
    model.encoder.blocks[-1].register_forward_pre_hook(  # the whole block
        lambda block, args, kwargs: (args, {**kwargs, "leading": None}), with_kwargs=True
    )
    for actual, expected in zip(pruned, run(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("training", [False, True])
def test_recordings_hold_all_tokens_and_change_no_bit(training: bool) -> None:
    """Also not in training, where a recording draws no random numbers of the run."""
    torch.manual_seed(0)
    config = vit_digits_config()
    config = replace(config, block=replace(config.block, dropout=0.2, attention_dropout=0.2), drop_path=0.2)
    model = VisionTransformer(config).train(training)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    images = model.example_inputs(2)[0]

    def twice() -> Tensor:
        torch.manual_seed(1)
        return torch.stack((model(images), model(images)))

    plain = twice()
    with saccade.record(model) as trace:
        assert torch.equal(twice(), plain)
    assert trace.attention["encoder.blocks.3.attn"].shape == (2, 4, 17, 17)
    assert trace.tokens["encoder.blocks.3"].shape == (2, 17, 64)


def test_recorded_tokens_and_weights_have_the_gradient_of_the_class_token() -> None:
    model = saccade.create("vit_digits").eval()
    with saccade.record(model) as trace:
        logits = model(model.example_inputs()[0])
    tokens, weights = trace.tokens["encoder.blocks.3"], trace.attention["encoder.blocks.3.attn"]
    to_tokens, to_weights = torch.autograd.grad(logits[0, 0], [tokens, weights])
    assert to_tokens[0, 0].any()
    assert not to_tokens[0, 1:].any()
    assert to_weights[..., 0, :].any()
    assert not to_weights[..., 1:, :].any()


def test_a_tapped_last_block_is_whole() -> None:
    encoder = Encoder(BlockConfig(16, 2, 32), 2)
    x = torch.randn(1, 5, 16)
    encoded = encoder(x, taps=[1], leading=1)
    assert encoded.tokens.shape == (1, 1, 16)
    assert torch.equal(encoded.taps[0], encoder(x).tokens)


def test_only_plain_self_attention() -> None:
    block = Block(BlockConfig(16, 2, 32), positions=True)
    with pytest.raises(ValueError, match="leading tokens"):
        block(torch.randn(1, 5, 16), leading=1)


def test_rotary_positions() -> None:
    torch.manual_seed(0)
    attention = random_block().attn
    x, rotation = torch.randn(3, 7, 16, dtype=torch.float64), torch.randn(2, 7, 4, dtype=torch.float64)
    parts = attention.leading(x, 2, None, rotation, rest=True)
    torch.testing.assert_close(torch.cat(parts, dim=1), attention(x, rotation=rotation), rtol=1e-12, atol=1e-12)


def test_a_recording_runs_only_what_it_needs_of_the_last_block() -> None:
    """The class token's weights cost one row; without tokens no other token passes the projection and the MLP."""
    model, images = saccade.create("vit_digits").eval(), torch.randn(1, 1, 8, 8)
    lengths: list[int] = []
    last = model.encoder.blocks[-1]
    for module in (last.attn.proj, last.mlp):
        module.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    path = "encoder.blocks.3.attn"
    with saccade.record(model) as whole, torch.no_grad():
        model(images)
    assert sorted(lengths) == [1, 1, 16, 16]
    for options, queries in (({"queries": [0]}, [0]), ({}, range(17)), ({"queries": [-1]}, [16])):
        lengths.clear()
        with saccade.record(model, layers=[-1], tokens=False, **options) as trace, torch.no_grad():
            model(images)
        assert lengths == [1, 1]
        torch.testing.assert_close(trace.attention[path], whole.attention[path][:, :, list(queries)])
    with saccade.record(model, layers=[-1], queries=[3], tokens=False, verify=True) as trace, torch.no_grad():
        model(images)
    assert trace.errors[path] < 1e-5
    with pytest.raises(RecordingError, match="no query 17: they are 0 to 16"), saccade.record(model, queries=[17]):
        model(images)
