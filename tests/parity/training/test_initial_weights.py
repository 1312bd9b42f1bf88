"""Fresh weights have the distributions of the original projects' fresh weights, tensor by tensor.

Tensors that do not depend on the seed must be equal; for the others a Kolmogorov-Smirnov test compares the values.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.formats import facebook_detr, huggingface_bert, openai_clip, timm_deit
from saccade.checkpoints.mapping import to_theirs
from saccade.models.model import Model

LEAST_P = 1e-3  # under equal distributions one tensor of a thousand falls below; seeds are fixed
BLOCK = {"block.embed_dim": 64, "block.num_heads": 4, "block.mlp_dim": 256}


def seeded(seed: int, build: Callable[[], Any]) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    built = build()
    return {n: t.detach().double() for n, t in (built if isinstance(built, dict) else built.state_dict()).items()}


def check(ours: Callable[[], dict[str, Tensor]], theirs: Callable[[], Any], skip: tuple[str, ...] = ()) -> None:
    stats = pytest.importorskip("scipy.stats")
    actual, expected, other_seed = seeded(0, ours), seeded(1, theirs), seeded(2, theirs)
    names = [name for name in actual if name in expected and not name.startswith(skip)]
    assert len(names) > 15
    wrong = []
    for name in names:
        assert actual[name].shape == expected[name].shape, name
        if torch.equal(expected[name], other_seed[name]):
            if not torch.allclose(actual[name], expected[name]):
                wrong.append(
                    f"{name}: std {actual[name].std():.3g}, not the constant {expected[name].flatten()[0]:.3g}"
                )
            continue
        p = stats.ks_2samp(actual[name].flatten().numpy(), expected[name].flatten().numpy()).pvalue
        if p < LEAST_P:
            wrong.append(f"{name}: std {actual[name].std():.3g}, not {expected[name].std():.3g}")
    assert not wrong, "\n".join(wrong)


def created(name: str, rules: Callable[[Any], Any], options: dict[str, Any], **changes: Any) -> dict[str, Tensor]:
    """A fresh model's tensors by the names of another project."""
    model = saccade.create(name, options=options, **changes)
    return to_theirs(model.state_dict(), rules(model.config))


def test_bert() -> None:
    transformers = pytest.importorskip("transformers")
    options = {**BLOCK, "depth": 2, "vocab_size": 120, "context_length": 40, "masked_lm": True, "next_sentence": True}
    config = transformers.BertConfig(
        hidden_size=64, num_attention_heads=4, intermediate_size=256, num_hidden_layers=2, vocab_size=120,
        max_position_embeddings=40, pad_token_id=None,
    )  # fmt: skip
    check(
        lambda: created("bert_base", huggingface_bert.rules, options),
        lambda: transformers.BertForPreTraining(config),
    )


def test_deit() -> None:
    timm = pytest.importorskip("timm")
    check(
        lambda: created("deit_ti16", timm_deit.rules, {**BLOCK, "depth": 2}, num_classes=50),
        lambda: timm.create_model(
            "deit_tiny_distilled_patch16_224", embed_dim=64, num_heads=4, depth=2, num_classes=50
        ),
    )


def test_clip_with_a_vit() -> None:
    open_clip = pytest.importorskip("open_clip")
    vision = {"layers": 2, "width": 64, "head_width": 16, "patch_size": 8, "image_size": 32}
    text = {"context_length": 20, "vocab_size": 100, "width": 48, "heads": 4, "layers": 3}
    backbone = {f"backbone_config.{name}": value for name, value in BLOCK.items()}
    options = {
        **backbone, "backbone_config.depth": 2, "backbone_config.patch_size": [8, 8], "text.depth": 3, "embed_dim": 32,
        "text.block.embed_dim": 48, "text.block.num_heads": 4, "text.block.mlp_dim": 192, "text.vocab_size": 100,
        "text.context_length": 20,
    }  # fmt: skip
    check(
        lambda: created("clip_vit_b32", openai_clip.rules, options, image_size=32),
        lambda: open_clip.model.CLIP(32, vision, text, quick_gelu=True),
    )


def test_clip_with_a_resnet() -> None:
    open_clip = pytest.importorskip("open_clip")
    vision = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None, "image_size": 64}
    text = {"context_length": 20, "vocab_size": 100, "width": 48, "heads": 4, "layers": 1}
    options = {
        "backbone_config.depths": [1, 1, 1, 1], "backbone_config.width": 8, "backbone_config.out_dim": 32,
        "backbone_config.num_heads": 16, "text.depth": 1, "embed_dim": 32, "text.block.embed_dim": 48,
        "text.block.num_heads": 4, "text.block.mlp_dim": 192, "text.vocab_size": 100, "text.context_length": 20,
    }  # fmt: skip
    check(
        lambda: created("clip_r50", openai_clip.rules, options, image_size=64),
        lambda: open_clip.model.CLIP(32, vision, text, quick_gelu=True),
    )


def test_detr() -> None:
    """The official transformer is `torch.nn.Transformer` with positions: the same layers and `_reset_parameters`."""
    small = {**BLOCK, "encoder_depth": 1, "decoder_depth": 1, "num_queries": 20, "num_classes": 7}
    backbone = {"backbone_config.width": 8, "backbone_config.depths": [1, 1, 1, 1]}

    def official() -> dict[str, Tensor]:
        transformer = nn.Transformer(64, 4, 1, 1, 256)
        modules = nn.ModuleDict({"transformer": transformer, "class_embed": nn.Linear(64, 8)})
        modules["query_embed"] = nn.Embedding(20, 64)
        modules["bbox_embed"] = nn.ModuleDict(
            {"layers": nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)])}
        )
        return modules.state_dict()

    check(lambda: created("detr_r50", facebook_detr.rules, {**small, **backbone}), official)


def test_masked_autoencoder() -> None:
    """The official `initialize_weights`, run on this package's module (facebookresearch/mae, models_mae.py)."""
    options = {**BLOCK, "depth": 2, "decoder.embed_dim": 64, "decoder.num_heads": 4, "decoder.mlp_dim": 256}
    create = partial(saccade.create, "mae_ti16", options={**options, "decoder_depth": 2}, image_size=64)

    def official() -> Model:
        reset: Any = create()
        for module in reset.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm):
                module.reset_parameters()
        patches = reset.encoder.patch_embed.proj.weight.data
        nn.init.xavier_uniform_(patches.view([patches.shape[0], -1]))
        nn.init.normal_(reset.encoder.cls_token, std=0.02)
        nn.init.normal_(reset.mask_token, std=0.02)
        for module in reset.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0)
        return reset

    check(
        lambda: saccade.create("mae_ti16", options={**options, "decoder_depth": 2}, image_size=64).state_dict(),
        official,
    )


@pytest.mark.parametrize("name", ["seq2seq_small", "image_to_text_strips"])
def test_encoder_decoders_start_with_matrices_of_glorot_and_biases_of_0(name: str) -> None:
    """As tensor2tensor, the code of the paper; Hugging Face's Marian draws from a normal of std 0.02 instead."""
    model = saccade.create(name)
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and path.startswith(("encoder.", "decoder.")):
            assert not module.bias.any(), path
            outputs, inputs = module.weight.shape
            outputs *= 3 if path.endswith((".q", ".k", ".v")) else 1  # rows of one matrix, as in a packed projection
            std = module.weight.detach().std().item()
            assert std == pytest.approx((2 / (inputs + outputs)) ** 0.5, rel=0.05), path
