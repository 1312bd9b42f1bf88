"""The original Transformer against torch's and Marian's; decoding with a KV cache, beam search."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.loading import load_model
from saccade.errors import ConfigError
from saccade.models.seq2seq import Seq2Seq, Seq2SeqConfig
from saccade.nn.generation import beam_search, greedy
from saccade.nn.transformer import BlockConfig
from tests.parity.cases import randomised

SOURCE = torch.tensor([[5, 9, 11, 2, 0, 0], [7, 3, 4, 8, 6, 2]])
TARGET = torch.tensor([[1, 4, 8, 9], [1, 10, 3, 7]])


def small(**options) -> Seq2Seq:
    torch.manual_seed(0)
    block = BlockConfig(32, 4, 48, "post", 1e-5, "relu")
    return randomised(Seq2Seq(Seq2SeqConfig(block=block, encoder_depth=2, decoder_depth=2, vocab_size=14, **options)))  # type: ignore[return-value]


def test_base_has_its_size() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in saccade.create("seq2seq_base").parameters()) == 63_082_496


def copied(net: Seq2Seq, official: nn.Transformer) -> None:
    """Our weights in torch's module."""

    def attention(ours, theirs) -> None:
        projections = (ours.qkv,) if ours.packed else (ours.q, ours.k, ours.v)
        theirs.in_proj_weight.data = torch.cat([linear.weight for linear in projections])
        theirs.in_proj_bias.data = torch.cat([linear.bias for linear in projections])
        theirs.out_proj.load_state_dict(ours.proj.state_dict())

    for ours, theirs in zip(net.encoder, official.encoder.layers):
        attention(ours.attn, theirs.self_attn)
        pairs = [(ours.mlp.fc1, theirs.linear1), (ours.mlp.fc2, theirs.linear2), (ours.norm1, theirs.norm1)]
        for one, other in [*pairs, (ours.norm2, theirs.norm2)]:
            other.load_state_dict(one.state_dict())
    for ours, theirs in zip(net.decoder, official.decoder.layers):
        attention(ours.attn, theirs.self_attn)
        attention(ours.cross_attn, theirs.multihead_attn)
        pairs = [(ours.mlp.fc1, theirs.linear1), (ours.mlp.fc2, theirs.linear2), (ours.norm1, theirs.norm1)]
        for one, other in [*pairs, (ours.norm_cross, theirs.norm2), (ours.norm2, theirs.norm3)]:
            other.load_state_dict(one.state_dict())


@torch.no_grad()
def test_torchs_transformer() -> None:
    net = small()
    official = nn.Transformer(32, 4, 2, 2, 48, dropout=0.0, batch_first=True).eval()
    official.encoder.norm = official.decoder.norm = None  # behind a post-norm block stands one already
    copied(net, official)
    hidden = SOURCE == 0
    answer = official(
        net.embedded(SOURCE), net.embedded(TARGET), tgt_mask=nn.Transformer.generate_square_subsequent_mask(4),
        src_key_padding_mask=hidden, memory_key_padding_mask=hidden,
    )  # fmt: skip
    torch.testing.assert_close(net(SOURCE, TARGET), answer @ net.token_embed.weight.T, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_marian(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MarianConfig(
        vocab_size=40, d_model=32, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=24,
        scale_embedding=True, activation_function="swish", pad_token_id=39, eos_token_id=0, decoder_start_token_id=39,
    )  # fmt: skip
    official = randomised(transformers.MarianMTModel(config))
    official.final_logits_bias.normal_()
    official.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    net = loaded.model
    assert isinstance(net, Seq2Seq)
    assert not loaded.report.new
    assert not loaded.report.unused
    source = torch.tensor([[5, 9, 11, 0, 39, 39], [7, 3, 4, 8, 6, 0]])
    target = torch.tensor([[39, 4, 8, 9], [39, 10, 3, 7]])
    mask = (source != 39).long()
    theirs = official(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
    torch.testing.assert_close(net(source, target), theirs, atol=1e-4, rtol=1e-4)
    options = {"max_new_tokens": 8, "do_sample": False, "num_beams": 1}
    written = official.generate(input_ids=source, attention_mask=mask, **options)
    for ours, row in zip(greedy(net, source, 7), written.tolist()):
        said = row[1:8]  # the last of `generate` is an end that it forces
        assert list(ours.tokens) == (said[: said.index(0)] if 0 in said else said)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["interleaved", "halves"])
def test_the_cache_changes_nothing(positions: str) -> None:
    net = small(positions=positions)
    whole = net(SOURCE, TARGET)
    encoded = net.encode(SOURCE)
    for sizes in ([1, 1, 1, 1], [2, 1, 1], [1, 3]):
        caches = net.decoder.empty_caches()
        steps = [net.decode(tokens, encoded, caches) for tokens in TARGET.split(sizes, dim=1)]
        torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-5)
        assert (caches[0].attn.length, caches[0].cross_attn.length) == (4, SOURCE.shape[1])


def exhaustive(net: Seq2Seq, source: Tensor, max_length: int, penalty: float) -> tuple[tuple[int, ...], float]:
    """The best of every sentence of up to so many tokens, the end among them; the longest may lack it."""
    config, best = net.config, ((), -1e9)
    words = [w for w in range(config.vocab_size) if w != config.end]
    for length in range(max_length + 1):
        for sentence in itertools.product(words, repeat=length):
            target = torch.tensor([[config.begin, *sentence]])
            logs = net(source, target).log_softmax(-1)[0]
            tokens = (*sentence, config.end) if length < max_length else sentence
            total = sum(logs[i, w].item() for i, w in enumerate(tokens))
            score = total / len(tokens) ** penalty
            if score > best[1]:
                best = (sentence, score)
    return best


@torch.no_grad()
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_enough_beams_find_the_best_of_all_sentences(penalty: float) -> None:
    torch.manual_seed(0)
    block = BlockConfig(16, 2, 16, "post", 1e-5, "relu")
    net = randomised(Seq2Seq(Seq2SeqConfig(block=block, encoder_depth=1, decoder_depth=1, vocab_size=5)))
    source = torch.tensor([[3, 4, 3]])
    (best,) = beam_search(net, source, 200, max_length=3, length_penalty=penalty)  # type: ignore[arg-type]
    sentence, score = exhaustive(net, source, 3, penalty)  # type: ignore[arg-type]
    assert best.tokens == sentence
    assert best.score == pytest.approx(score, abs=1e-5)


def test_one_beam_is_greedy() -> None:
    net = small()
    for one, other in zip(beam_search(net, SOURCE, 1, max_length=6), greedy(net, SOURCE, 6)):
        assert one.tokens == other.tokens
        assert one.score == pytest.approx(other.score, abs=1e-5)
    with pytest.raises(ConfigError, match="at least one beam"):
        beam_search(net, SOURCE, 0)


@torch.no_grad()
def test_the_alignment_is_recorded() -> None:
    net = small()
    with saccade.record(net) as trace:
        net(SOURCE, TARGET)
    looks = {path: w for path, w in trace.attention.items() if "cross_attn" in path}
    assert len(looks) == 2
    for weights in looks.values():
        assert weights.shape == (2, 4, 4, 6)
        assert not weights[0, :, :, 4:].any()  # nobody looks at padding
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 4))
