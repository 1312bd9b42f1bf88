"""Recording: exact weights, the output unchanged to the bit, gradients, a limit of memory."""

import threading

import pytest
import torch

import saccade
from saccade.errors import RecordingError
from saccade.nn.attention import MultiHeadAttention, attention_weights
from saccade.nn.recording import record
from saccade.nn.trace import format_bytes, parse_bytes
from saccade.nn.transformer import BlockConfig, Decoder
from saccade.nn.windows import AxialAttention

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
    for i, tap in enumerate(taps[:-1]):
        assert torch.equal(trace.tokens[f"encoder.blocks.{i}"], tap)
    torch.testing.assert_close(trace.tokens["encoder.blocks.3"], taps[-1])  # computed in two parts


def test_layers_heads_and_queries_are_chosen() -> None:
    net, images = small(), torch.randn(2, 1, 8, 8)
    with record(net) as whole:
        net(images)
    with record(net, layers=[-1, "encoder.blocks.1.*"], heads=[2, 0], queries=[0, -1]) as part:
        net(images)
    assert list(part.attention) == ["encoder.blocks.1.attn", "encoder.blocks.3.attn"]
    expected = whole.attention["encoder.blocks.3.attn"][:, [2, 0]][:, :, [0, -1]]
    torch.testing.assert_close(part.attention["encoder.blocks.3.attn"], expected)


def test_bytes_are_counted_and_too_many_are_refused() -> None:
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


def test_a_base_model_at_1024_pixels_is_estimated_from_its_first_layers() -> None:
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
    with pytest.raises(RecordingError, match="given twice"), record(net, heads=[3, -1]):
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


def explicit_attention(net: torch.nn.Module) -> None:
    """Make every attention multiply its weights with its values, so that autograd sees the weights."""
    for module in net.modules():
        if isinstance(module, MultiHeadAttention):
            module.tap = ExplicitProduct()


class ExplicitProduct:
    """A tap that leaves the fused kernel's result aside."""

    weights: torch.Tensor

    def fused(self, q, k, v, mask, out):
        self.weights = attention_weights(q, k, mask)
        return self.weights @ v

    def explicit(self, weights):
        return weights

    def needs_rest(self, count):
        return True, True


def test_gradients_of_logits_with_respect_to_weights_and_tokens() -> None:
    """Against a network that multiplies weights and values itself; the output keeps its bits."""
    net, images = small(), torch.randn(2, 1, 8, 8)
    plain = net(images)
    with record(net) as trace:
        logits = net(images)
    assert torch.equal(logits, plain)
    path = "encoder.blocks.1.attn"
    grads = torch.autograd.grad(
        logits[:, 3].sum(), [trace.attention[path], trace.tokens["encoder.blocks.1"]], retain_graph=True
    )
    parameter = torch.autograd.grad(logits[:, 3].sum(), net.encoder.blocks[0].attn.qkv.weight)[0]
    explicit_attention(net)
    expected = net(images)[:, 3].sum()
    tap = net.encoder.blocks[1].attn.tap
    torch.testing.assert_close(grads[0], torch.autograd.grad(expected, tap.weights, retain_graph=True)[0])
    torch.testing.assert_close(parameter, torch.autograd.grad(expected, net.encoder.blocks[0].attn.qkv.weight)[0])
    assert grads[1].abs().sum() > 0


def test_gradients_of_chosen_heads_and_queries() -> None:
    """The rows that are recorded have their part of the gradient; that of the parameters stays whole."""
    net, images = small(), torch.randn(2, 1, 8, 8)
    weight = net.encoder.blocks[0].attn.qkv.weight
    with record(net) as whole:
        logits = net(images)
    expected = torch.autograd.grad(logits[0, 1], [whole.attention["encoder.blocks.2.attn"], weight])
    with record(net, layers=[2], heads=[3, 1], queries=[0, -1]) as part:
        logits = net(images)
    actual = torch.autograd.grad(logits[0, 1], [part.attention["encoder.blocks.2.attn"], weight])
    torch.testing.assert_close(actual[0], expected[0][:, [3, 1]][:, :, [0, -1]])
    torch.testing.assert_close(actual[1], expected[1])


def test_gradients_through_axial_attention() -> None:
    """Weights that are there already, of which two sums are made."""
    torch.manual_seed(0)
    attention = AxialAttention(16, axis=3, num_heads=2, span=5).eval()
    x = torch.randn(1, 16, 3, 4)
    weight = attention.qkv.weight
    plain = torch.autograd.grad(attention(x).square().sum(), weight)[0]
    holder = torch.nn.Sequential(attention)
    with record(holder) as trace:
        out = holder(x)
    grads = torch.autograd.grad(out.square().sum(), [trace.attention["0"], weight])
    torch.testing.assert_close(grads[1], plain)
    step = torch.zeros_like(trace.attention["0"])
    step[0, 1, 2, 3] = 0.5  # a sum of squares is a parabola: its difference quotient is exact
    moved = [_with_weights(attention, x, trace.attention["0"].detach() + sign * step) for sign in (1, -1)]
    torch.testing.assert_close(moved[0] - moved[1], grads[0][0, 1, 2, 3])


def _with_weights(attention: AxialAttention, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    class Given(ExplicitProduct):
        def explicit(self, _):
            return weights

    attention.tap = Given()
    out = attention(x).detach().square().sum()
    attention.tap = None
    return out


def test_without_grad_nothing_holds_the_graph() -> None:
    net, images = small(), torch.randn(1, 1, 8, 8)
    with record(net, grad=False) as trace:
        net(images)
    assert not any(t.requires_grad for t in (*trace.attention.values(), *trace.tokens.values()))
    with record(net) as trace, torch.no_grad():
        net(images)
    assert not any(t.requires_grad for t in (*trace.attention.values(), *trace.tokens.values()))


def test_dropped_weights_leave_the_gradient_of_training_alone() -> None:
    net, images = small(**{"block.attention_dropout": 0.5}).train(), torch.randn(2, 1, 8, 8)

    def gradient() -> torch.Tensor:
        torch.manual_seed(1)
        return torch.autograd.grad(net(images).sum(), net.encoder.blocks[0].attn.qkv.weight)[0]

    plain = gradient()
    with record(net, tokens=False):
        assert torch.equal(gradient(), plain)


def test_methods_are_passes_too() -> None:
    """``embed`` and ``features`` have a layout and a budget, and each begins anew."""
    net, images = small(), torch.randn(2, 1, 8, 8)
    for run in (net.embed, net.features, lambda x: net.features(x, layers=[1])):
        with record(net) as trace:
            run(images)
            run(images[:1, :, :4])
        assert trace.layout == net.token_layout((4, 8))
        assert len(trace.attention) == 4
        assert trace.attention["encoder.blocks.0.attn"].shape[0] == 1
        with pytest.raises(RecordingError, match="budget is 1 kB"), record(net, budget="1 kB"):
            run(images)


def test_other_threads_run_as_without_a_recording() -> None:
    net, images = small(), [torch.randn(1, 1, 8, 8) for _ in range(8)]
    with torch.no_grad():
        expected = [net(x) for x in images]
    start = threading.Barrier(9)
    outputs: dict[int, list[torch.Tensor]] = {}

    def run(i: int) -> None:
        start.wait()
        with torch.no_grad():
            outputs[i] = [net(images[i]) for _ in range(20)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    with record(net) as trace:
        for thread in threads:
            thread.start()
        start.wait()
        recorded = [net(images[0]) for _ in range(20)]
        for thread in threads:
            thread.join()
    assert len(trace.attention) == 4
    assert all(torch.equal(out, expected[0]) for out in recorded)
    assert all(torch.equal(out, expected[i]) for i in range(8) for out in outputs[i])


def test_eight_threads_record_one_model_at_the_same_time() -> None:
    net, images = small(), [torch.randn(1, 1, 8, 8) for _ in range(8)]
    expected = []
    for x in images:
        with torch.no_grad(), record(net) as trace:
            net(x)
        expected.append(trace)
    start = threading.Barrier(8)
    problems: list[str] = []

    def run(i: int) -> None:
        start.wait()
        for _ in range(20):
            try:
                with torch.no_grad(), record(net) as trace:
                    net(images[i])
                    net(images[i])
            except Exception as error:
                problems.append(f"{error!r}")
                return
            same = [torch.equal(trace.attention[name], weights) for name, weights in expected[i].attention.items()]
            if len(trace.attention) != len(same) or len(trace.tokens) != len(expected[i].tokens) or not all(same):
                problems.append("another thread's attention")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert all(module.tap is None for module in net.modules() if hasattr(module, "tap"))


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
