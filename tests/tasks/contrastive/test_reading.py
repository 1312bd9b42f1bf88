"""What speaks for the similarity of an image and a text."""

import pytest
import torch

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.tokenizer import Tokenizer
from saccade.engine.images import fresh_preprocessing
from saccade.errors import RecordingError
from saccade.tasks.contrastive.reading import TextReader
from saccade.tasks.loading import predictor_of

pytest.importorskip("tokenizers")


def reader(name: str = "clip_ti16", **options: object) -> TextReader:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["a small three", "a large seven"] * 5, vocab_size=540, context_length=16)
    text = {"text.vocab_size": tokenizer.vocab_size, "text.context_length": 16, "text.depth": 1}
    net = saccade.create(name, options=text | options).eval()
    files = tokenizer.files()
    return TextReader(
        predictor_of(LoadedModel(net, "clip", (), fresh_preprocessing(net), "contrastive", vocabulary=files))
    )


def test_of_one_layer_relevance_is_attention_times_gradient() -> None:
    """R = I + Ā: of the class token the patches' row of Ā, of the end token its row."""
    one = reader(**{"backbone_config.depth": 1, "backbone_config.image_size": (64, 64)})
    image = torch.randn(1, 3, 64, 64)
    pair = one.relevance(image, "three", 2**30)
    with saccade.record(one.model) as trace:
        output = one.model(image, one.tokens("three"))
        cosine = (output.image * output.text).sum()
    paths = ["backbone.encoder.blocks.0.attn", "text.blocks.0.attn"]
    weights = [trace.attention[path] for path in paths]
    gradients = torch.autograd.grad(cosine, weights)
    image_row, text_row = [(w * g).clamp(min=0).mean(1)[0] for w, g in zip(weights, gradients)]
    assert pair.cosine == pytest.approx(cosine.item(), abs=1e-6)
    assert torch.allclose(pair.patches, image_row[0, 1:].detach(), atol=1e-9, rtol=1e-4)
    assert torch.allclose(pair.token_values, text_row[-1].detach(), atol=1e-9, rtol=1e-4)
    assert pair.tokens[0] == "<|startoftext|>"
    assert "three" in pair.tokens
    assert pair.tokens[-1] == "<|endoftext|>"
    (group,) = one.read("three")
    assert group.queries.tokens[group.first] == "<|endoftext|>"
    assert len(one.relevance(torch.randn(1, 3, 64, 96), "three", 2**30).patches) == 4 * 6


def test_the_tokens_end_where_the_text_ends() -> None:
    """What stands behind the end token changes nothing."""
    one = reader(**{"backbone_config.depth": 1})
    tokens = one.tokens("seven")
    whole = one.tokenizer([one.template.format("seven")])
    assert tokens.shape[1] < whole.shape[1]
    with torch.no_grad():
        assert torch.allclose(one.model.encode_text(tokens), one.model.encode_text(whole), atol=1e-6)


def test_a_convolutional_image_encoder_has_no_relevance_of_patches() -> None:
    with pytest.raises(RecordingError, match="convolutional"):
        reader("clip_small").relevance(torch.randn(1, 3, 64, 64), "three", 2**30)
