"""Interventions: nothing else changes, and each part does what its definition says."""

import threading

import pytest
import torch

import saccade
from saccade.errors import InterventionError, RecordingError
from saccade.nn.attention import Attention
from saccade.nn.transformer import Block

FAMILIES = {
    "vit_digits": {"positions": "learned", "num_registers": 2},
    "deit_ti16": {"image_size": (32, 32)},
    "hybrid_r_ti16": {"image_size": (64, 64)},
    "conv_vit_digits": {}, "detr_small": {}, "dpt_small": {}, "perceiver_digits": {}, "axial_resnet26_s": {},
    "local_resnet26": {}, "clip_small": {},
}  # fmt: skip


def network(name: str, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    options = FAMILIES.get(name, {}) | options
    size = options.pop("image_size", None)
    small = {} if size is None and name not in ("axial_resnet26_s", "local_resnet26") else {"image_size": size or 64}
    net = saccade.create(name, options=options, **small).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.fill_(1.0)  # fresh residual branches end with zeros: nothing in them would change the output
    return net


def output(net: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    out = net(*inputs)
    parts = [out] if isinstance(out, torch.Tensor) else [x for x in out if isinstance(x, torch.Tensor)]
    return torch.cat([x.flatten() for x in parts])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_head_adds_nothing_when_it_is_off_and_nothing_stays_behind(name: str) -> None:
    net = network(name)
    inputs = net.example_inputs(2)
    plain = output(net, *inputs)
    with saccade.intervene(net):
        assert torch.equal(output(net, *inputs), plain)
    with saccade.intervene(net, temperature=1.0, heads={-1: []}):
        assert torch.equal(output(net, *inputs), plain)
    first = next(m for m in net.modules() if isinstance(m, Attention))
    with saccade.intervene(net, heads={0: [0]}), saccade.record(net) as trace:
        changed = output(net, *inputs)
        assert first.edit is not None
    assert not torch.equal(changed, plain)
    assert trace.attention
    assert torch.equal(output(net, *inputs), plain)
    assert all(m.edit is None for m in net.modules() if isinstance(m, Attention | Block))


def test_a_head_that_is_off_equals_a_projection_without_its_columns() -> None:
    net = network("vit_digits")
    images = net.example_inputs(2)[0]
    with saccade.intervene(net, heads={1: [2], "encoder.blocks.3.*": [0, -1]}):
        actual = net(images)
    width = 64 // 4
    for layer, heads in ((1, [2]), (3, [0, 3])):
        for head in heads:
            net.encoder.blocks[layer].attn.proj.weight[:, head * width : (head + 1) * width] = 0
    torch.testing.assert_close(actual, net(images), atol=1e-6, rtol=1e-6)


def test_a_block_that_is_off_equals_a_network_without_it() -> None:
    net = network("vit_digits")
    images = net.example_inputs(2)[0]
    with saccade.intervene(net, blocks=[1, "encoder.blocks.3"]):
        actual = net(images)
    del net.encoder.blocks[3], net.encoder.blocks[1]
    torch.testing.assert_close(actual, net(images))  # whose last block computes the class token alone


@pytest.mark.parametrize("pooling", ["cls", "mean", "attention"])
def test_dropped_patches_equal_a_network_that_never_had_them(pooling: str) -> None:
    """Against the blocks run on the remaining tokens alone."""
    net = network("vit_digits", pooling=pooling)
    images, layout = net.example_inputs(2)[0], net.token_layout()
    hidden = [layout.index(0, 1), layout.index(2, 2), layout.index(3, 0)]
    with saccade.intervene(net, tokens=hidden):
        actual, embedded = net(images), net.embed(images)
    with saccade.intervene(net, tokens=~torch.ones(layout.grid, dtype=torch.bool).index_put(
        tuple(torch.tensor([layout.position(i) for i in hidden]).T), torch.tensor(False)
    )):  # fmt: skip
        assert torch.equal(net(images), actual)
    encoder = net.encoder
    tokens = encoder.with_prefix(encoder.patch_embed(images).tokens, layout.grid)
    rest = [i for i in range(layout.num_tokens) if i not in hidden]
    tokens = encoder.norm(encoder.blocks(tokens[:, rest]).tokens)
    pooled = {"cls": lambda: tokens[:, 0], "mean": lambda: tokens[:, layout.num_prefix :].mean(1)}
    expected = net.head(pooled[pooling]() if pooling in pooled else net.pool(tokens))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net.head(embedded), expected, atol=1e-5, rtol=1e-5)


def test_every_image_has_its_own_map() -> None:
    net = network("vit_digits")
    images = net.example_inputs(2)[0]
    maps = torch.zeros(2, 4, 4, dtype=torch.bool)
    maps[1, 1, 2] = True
    with saccade.intervene(net, tokens=maps):
        actual = net(images)
    with saccade.intervene(net, tokens=maps[1]):
        second = net(images)
    torch.testing.assert_close(actual[0], net(images)[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(actual[1], second[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["detr_small", "perceiver_digits"])
def test_readers_of_tokens_do_not_see_dropped_ones(name: str) -> None:
    net = network(name)
    inputs = net.example_inputs(1)
    layout = net.token_layout(tuple(inputs[0].shape[-2:]))
    with saccade.intervene(net, tokens=[layout.index(1, 1)]), saccade.record(net) as trace:
        net(*inputs)
    readers = [w for w in trace.attention.values() if w.shape[-1] == layout.num_tokens]
    assert readers
    assert all((w[..., layout.index(1, 1)] == 0).all() for w in readers)


@pytest.mark.parametrize("fill", ["zero", "mean", "blur"])
def test_pixels_of_hidden_patches_are_replaced_and_no_others(fill: str) -> None:
    net = network("vit_digits")
    images, layout = net.example_inputs(2)[0], net.token_layout()
    seen = []
    hook = net.encoder.patch_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for run in (net, net.embed):
        with saccade.intervene(net, tokens=[layout.index(1, 2)], fill=fill):
            run(images)
    hook.remove()
    assert torch.equal(*seen)
    left, top, right, bottom = layout.box(layout.index(1, 2))
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert torch.equal(seen[0][..., ~inside], images[..., ~inside])
    expected = {"zero": torch.zeros(2), "mean": images.mean((1, 2, 3))}
    for i in range(2):
        if fill in expected:
            torch.testing.assert_close(seen[0][i, 0, inside], expected[fill][i].expand(4))
        else:
            assert seen[0][i, 0, inside].var() < images[i, 0, inside].var()


def test_temperature_and_edges_of_attention() -> None:
    net = network("vit_digits")
    images = net.example_inputs(2)[0]
    with saccade.record(net) as plain:
        net(images)
    path = "encoder.blocks.0.attn"
    with saccade.intervene(net, temperature=1e6, layers=[0]), saccade.record(net) as flat:
        net(images)
    torch.testing.assert_close(flat.attention[path], torch.full_like(flat.attention[path], 1 / 19), atol=1e-4, rtol=0)
    allowed = torch.ones(19, 19, dtype=torch.bool)
    allowed[0, 5] = False
    with saccade.intervene(net, attention=allowed, layers=[0]), saccade.record(net, verify=True) as cut:
        net(images)
    weights = plain.attention[path].clone()
    weights[..., 0, 5] = 0
    torch.testing.assert_close(cut.attention[path], weights / weights.sum(-1, keepdim=True))
    assert max(cut.errors.values()) < 1e-5
    bias = torch.zeros(19, 19).masked_fill(~allowed, -torch.inf)
    with saccade.intervene(net, attention=bias, layers=[0]), saccade.record(net) as biased:
        net(images)
    torch.testing.assert_close(biased.attention[path], cut.attention[path])


def test_activations_of_another_image() -> None:
    """With all that a later layer reads patched, the later layer's output is that of the other image."""
    net = network("vit_digits")
    images = net.example_inputs(2)[0]
    with saccade.record(net) as trace:
        source = net(images[:1])
    path = "encoder.blocks.2"
    with saccade.intervene(net, patch={path: trace.tokens[path]}):
        assert torch.equal(net(images[1:]), source)
    weights = dict(trace.attention)
    with saccade.intervene(net, patch=weights):
        torch.testing.assert_close(net(images[:1]), source, atol=1e-5, rtol=1e-5)
    with saccade.intervene(net, patch=weights), saccade.record(net) as patched:
        net(images[1:])
    torch.testing.assert_close(patched.attention["encoder.blocks.1.attn"], weights["encoder.blocks.1.attn"])


def test_other_threads_run_the_model_as_it_is() -> None:
    net = network("vit_digits")
    images = net.example_inputs(1)[0]
    plain, outputs = net(images), []
    with saccade.intervene(net, heads={0: [0]}, blocks=[1], tokens=[5], temperature=2.0):
        thread = threading.Thread(target=lambda: outputs.append(net(images)))
        thread.start()
        thread.join()
        assert not torch.equal(net(images), plain)
    assert torch.equal(outputs[0], plain)


def test_what_cannot_be_changed_is_an_error() -> None:
    net = network("vit_digits")
    images = net.example_inputs(1)[0]

    def refused(message: str, run=lambda: net(images), error=InterventionError, **options) -> None:
        with pytest.raises(error, match=message), saccade.intervene(net, **options):
            run()

    refused("no attention 9", heads={9: [0]}, error=RecordingError)
    refused("no head 4", heads={0: [4]})
    refused("no block matches", blocks=["nothing"], error=RecordingError)
    refused("token 0 is no patch", tokens=[0])
    refused("does not fit the grid", tokens=torch.zeros(3, 3, dtype=torch.bool))
    refused("does not fit", attention=torch.ones(5, 5, dtype=torch.bool))
    refused("must be positive", temperature=0.0)
    refused("neither a block nor an attention", patch={"head": images})
    refused("record them with images of the same size", patch={"encoder.blocks.0": torch.zeros(1, 3, 64)})
    refused("unknown fill", tokens=[5], fill="grey")
    refused("being changed already", run=lambda: saccade.intervene(net, heads={0: [1]}).__enter__(), heads={0: [0]})
    conv = network("conv_vit_digits")
    with pytest.raises(InterventionError, match="choose fill"), saccade.intervene(conv, tokens=[0]):
        pass
    mae = network("mae_digits")
    images = mae.example_inputs(1)[0]
    with saccade.intervene(mae, tokens=[5]):
        mae.embed(images)
        with pytest.raises(InterventionError, match="chooses its patches itself"):
            mae(images)
    with pytest.raises(InterventionError, match="nothing to hide"), saccade.intervene(network("lenet"), tokens=[0]):
        pass
    assert all(m.edit is None for m in net.modules() if isinstance(m, Attention | Block))


def test_a_hidden_token_of_a_text_is_one_that_padding_stands_for() -> None:
    torch.manual_seed(0)
    net = saccade.create("bert_small", options={"depth": 2}).eval().requires_grad_(False)
    tokens, valid = torch.randint(5, 900, (2, 7)), torch.ones(2, 7, dtype=torch.bool)
    valid[:, 3] = False
    with saccade.intervene(net, tokens=[3]), saccade.record(net) as trace:
        hidden = net(tokens).hidden
    assert torch.allclose(hidden, net(tokens, valid=valid).hidden, atol=1e-5)
    assert all(not weights[..., 3].any() for weights in trace.attention.values())
    for wrong in ({"tokens": [7]}, {"tokens": [3], "fill": "mean"}, {"tokens": torch.ones(7, dtype=torch.bool)}):
        with pytest.raises(InterventionError, match="token"), saccade.intervene(net, **wrong):
            net(tokens)


def test_a_hidden_token_of_a_source_reaches_neither_encoder_nor_decoder() -> None:
    torch.manual_seed(0)
    net = saccade.create("seq2seq_small").eval().requires_grad_(False)
    source, target = torch.randint(5, 900, (1, 6)), torch.randint(5, 900, (1, 6))
    padded = source.clone()
    padded[:, 2] = net.config.pad
    with saccade.intervene(net, tokens=[2]), saccade.record(net) as trace:
        logits = net(source, target)
    assert torch.allclose(logits, net(padded, target), atol=1e-5)
    assert not torch.allclose(logits, net(source, target), atol=1e-3)
    assert trace.attention["decoder.0.attn"][0, :, 3, 2].all(), "the target's own token 2 stays"


def test_a_perceiver_does_not_read_hidden_bytes() -> None:
    torch.manual_seed(0)
    latents = {"count": 4, "block.embed_dim": 16, "block.num_heads": 2, "block.mlp_dim": 16, "block.key_dim": None}
    options = {f"latents.{name}": value for name, value in latents.items()} | {"latents.depth": 1, "width": 8}
    net = saccade.create("perceiver_text", options=options | {"context_length": 16, "decoder_heads": 1}).eval()
    tokens, valid = torch.randint(6, 200, (1, 9)), torch.ones(1, 9, dtype=torch.bool)
    valid[:, 4] = False
    with torch.no_grad(), saccade.intervene(net, tokens=[4]):
        hidden = net(tokens).logits
    with torch.no_grad():
        assert torch.allclose(hidden, net(tokens, valid=valid).logits, atol=1e-5)
