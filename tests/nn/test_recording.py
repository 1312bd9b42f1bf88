"""Recording: exact weights, the output unchanged to the bit, memory known before the run."""

import pytest
import torch

import saccade
from saccade.errors import RecordingError
from saccade.nn.recording import format_bytes, parse_bytes, record
from saccade.nn.transformer import BlockConfig, Decoder

VARIANTS = {
    "class token": {},
    "registers": {"num_registers": 3, "prefix_positions": 0},
    "no prefix": {"class_token": False, "prefix_positions": 0, "pooling": "mean"},
    "attention pool": {"pooling": "attention"},
}


def small(**options):
    torch.manual_seed(0)
    return saccade.create("vit_digits", options={"positions": "learned", **options}).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_are_the_same_bits_and_weights_are_exact(variant: str) -> None:
    net, images = small(**VARIANTS[variant]), torch.randn(2, 1, 8, 8)
    plain = net(images)
    with record(net, verify=True) as trace:
        recorded = net(images)
    assert torch.equal(plain, recorded)
    assert len(trace.attention) == 4 + (variant == "attention pool")
    for path, weights in trace.attention.items():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]), atol=1e-6, rtol=0)
        assert trace.errors[path] < 1e-5
    assert trace.layout == net.token_layout()
    assert trace.layout.num_tokens == trace.attention["encoder.blocks.0.attn"].shape[-1]
    assert torch.equal(net(images), plain)
    assert all(m.tap is None for m in net.modules() if hasattr(m, "tap"))


def test_tokens_by_layer_equal_the_taps() -> None:
    net, images = small(), torch.randn(2, 1, 8, 8)
    with record(net) as trace:
        net(images)
    taps = net.encoder(images, taps=(0, 1, 2, 3)).taps
    for i, tap in enumerate(taps):
        assert torch.equal(trace.tokens[f"encoder.blocks.{i}"], tap)


def test_layers_heads_and_queries_are_chosen() -> None:
    net, images = small(), torch.randn(2, 1, 8, 8)
    with record(net) as whole:
        net(images)
    with record(net, layers=[-1, "encoder.blocks.1.*"], heads=[2, 0], queries=[0, -1]) as part:
        net(images)
    assert list(part.attention) == ["encoder.blocks.1.attn", "encoder.blocks.3.attn"]
    expected = whole.attention["encoder.blocks.3.attn"][:, [2, 0]][:, :, [0, -1]]
    torch.testing.assert_close(part.attention["encoder.blocks.3.attn"], expected)


def test_bytes_are_known_before_the_run_and_too_many_are_refused() -> None:
    net, images = small(), torch.randn(2, 1, 8, 8)
    with record(net) as trace:
        net(images)
    held = sum(t.numel() * t.element_size() for t in (*trace.attention.values(), *trace.tokens.values()))
    assert trace.nbytes == held
    with (
        pytest.raises(RecordingError, match=r"needs .* kB.*budget is 10 kB.*encoder\.blocks"),
        record(net, budget="10 kB"),
    ):
        net(images)
    with record(net, budget=held):
        net(images)


def test_a_base_model_at_1024_pixels_is_counted_without_running() -> None:
    """The field's example: all layers and heads of a ViT-B/16 at 1024 pixels need 9.7 GB."""
    with torch.device("meta"):
        net = saccade.create("vit_b16", image_size=1024)
    with pytest.raises(RecordingError, match=r"9\.\d+ GB"), record(net, tokens=False, budget="4 GiB"):
        net(torch.empty(1, 3, 1024, 1024, device="meta"))


def test_what_cannot_be_recorded_is_said() -> None:
    net, images = small(), torch.randn(1, 1, 8, 8)
    for layers, message in (([9], "0 to 3"), (["nothing*"], "no attention matches")):
        with pytest.raises(RecordingError, match=message), record(net, layers=layers):
            pass
    with pytest.raises(RecordingError, match="no head 7"), record(net, heads=[7]):
        net(images)
    with pytest.raises(RecordingError, match="being recorded already"), record(net), record(net):
        pass
    with pytest.raises(RecordingError, match="no attention"), record(torch.nn.Linear(2, 2)):
        pass
    assert all(m.tap is None for m in net.modules() if hasattr(m, "tap"))


def test_cross_attention_and_repeated_runs() -> None:
    decoder = Decoder(BlockConfig(16, 2, 32), 2).eval()
    tokens, memory = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
    with record(decoder, layers=["*.cross_attn"]) as trace:
        decoder(tokens, memory)
    assert [tuple(w.shape) for w in trace.attention.values()] == [(1, 2, 3, 5)] * 2


def test_a_training_model_keeps_its_mode_and_random_numbers() -> None:
    net, images = small(**{"block.dropout": 0.3}).train(), torch.randn(2, 1, 8, 8)
    torch.manual_seed(1)
    plain = net(images)
    torch.manual_seed(1)
    with record(net):
        recorded = net(images)
    assert torch.equal(plain, recorded)
    assert net.training


def test_sizes_in_words() -> None:
    assert parse_bytes("4 GiB") == 4 * 2**30
    assert parse_bytes("500 MB") == 500 * 10**6
    assert parse_bytes(12) == 12
    assert format_bytes(9_700_000_000) == "9.7 GB"
    with pytest.raises(RecordingError, match="no size"):
        parse_bytes("much")


@pytest.mark.slow
def test_a_compiled_model_is_recorded_and_goes_on_compiled() -> None:
    net, images = small(), torch.randn(2, 1, 8, 8)
    compiled = torch.compile(net, backend="aot_eager")
    before = compiled(images)
    with record(compiled) as trace:
        recorded = compiled(images)
    assert len(trace.attention) == 4
    torch.testing.assert_close(recorded, before, atol=1e-5, rtol=1e-5)
    count = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert torch.equal(compiled(images), before)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == count
