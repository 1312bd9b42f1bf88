"""DINOv3's encoders in the names of Hugging Face, Meta and timm, at several image sizes, there and back."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import saccade
from saccade.analysis.pruning import prune
from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.errors import CheckpointError
from saccade.inference.export.runner import open_exported
from saccade.inference.rewrites.fold_norms import fold_norms
from saccade.nn.positions import rotary_positions
from saccade.tasks import table
from tests.parity.cases import randomised

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")

SMALL: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80, "image_size": 32,
    "patch_size": 8, "num_register_tokens": 2,
}  # fmt: skip
GATED = {"use_gated_mlp": True, "hidden_act": "silu"}
NO_BIAS = {"query_bias": False, "value_bias": False}
VARIANTS = {"plain": {}, "gated": GATED, "7b": {**GATED, **NO_BIAS}}
SIZES = [(32, 32), (48, 64), (24, 8)]
# Published encoders: width, depth, heads, MLP width, other options.
PUBLISHED = {
    "dinov3_s16": (384, 12, 6, 1536, {}),
    "dinov3_s16plus": (384, 12, 6, 1536, GATED),
    "dinov3_b16": (768, 12, 12, 3072, {}),
    "dinov3_l16": (1024, 24, 16, 4096, {}),
    "dinov3_h16plus": (1280, 32, 20, 5120, GATED),
    "dinov3_7b16": (4096, 40, 32, 8192, {**GATED, **NO_BIAS}),
}


def hugging(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return randomised(transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**{**SMALL, **options})))


def as_meta(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors of transformers under Meta's names."""
    names = {
        "embeddings.patch_embeddings": "patch_embed.proj", "embeddings.register_tokens": "storage_tokens",
        "embeddings.": "", "layer.": "blocks.", "attention.o_proj": "attn.proj", "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
    }  # fmt: skip
    gated = "layer.0.mlp.gate_proj.weight" in state
    names |= (
        {"mlp.gate_proj": "mlp.w1", "mlp.up_proj": "mlp.w2", "mlp.down_proj": "mlp.w3"}
        if gated
        else {"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"}
    )
    meta: dict[str, Tensor] = {"rope_embed.periods": 100.0 ** (torch.arange(3) / 3)}
    for name, tensor in state.items():
        if "q_proj" in name:
            block, kind = name.split(".attention.q_proj.")
            others = [state.get(name.replace("q_proj", p), torch.full_like(tensor, 7.0)) for p in ("k_proj", "v_proj")]
            meta[f"{block.replace('layer.', 'blocks.')}.attn.qkv.{kind}"] = torch.cat([tensor, *others])
            if kind == "bias":
                mask = torch.cat([torch.ones_like(tensor), torch.zeros_like(tensor), torch.ones_like(tensor)])
                meta[f"{block.replace('layer.', 'blocks.')}.attn.qkv.bias_mask"] = mask
        elif "k_proj" not in name and "v_proj" not in name:
            for theirs, here in names.items():
                name = name.replace(theirs, here)
            meta[name] = tensor
    return meta


@pytest.mark.parametrize("variant", VARIANTS)
def test_tokens_and_attention_of_every_layer(variant: str, tmp_path: Path) -> None:
    """At the native size and two others; weights of attention and tokens of every block."""
    official = hugging(**VARIANTS[variant])
    official.save_pretrained(tmp_path)
    official.set_attn_implementation("eager")
    loaded = load_model(tmp_path)
    assert not loaded.report.new
    assert not loaded.report.unused
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        with torch.no_grad(), saccade.record(loaded.model) as trace:
            theirs = official(images, output_attentions=True, output_hidden_states=True)
            ours = loaded.model(images)
        torch.testing.assert_close(ours, theirs.pooler_output, atol=1e-5, rtol=1e-4)
        for weights, expected in zip(trace.attention.values(), theirs.attentions, strict=True):
            torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)
        for tokens, expected in zip(trace.tokens.values(), theirs.hidden_states[1:], strict=True):
            torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-4)


def test_places_are_augmented_in_training_as_in_transformers(tmp_path: Path) -> None:
    """The same generator gives the same shift, jitter and scale; evaluation has none."""
    official = hugging(pos_embed_shift=0.3, pos_embed_jitter=1.5, pos_embed_rescale=2.0).train()
    official.save_pretrained(tmp_path)
    net = load_model(tmp_path).model.train()
    images = torch.randn(2, 3, 48, 64)
    outputs = []
    with torch.no_grad():
        for seed in (1, 2):
            torch.manual_seed(seed)
            expected = official(images).pooler_output
            torch.manual_seed(seed)
            outputs.append(net(images))
            torch.testing.assert_close(outputs[-1], expected, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(*outputs, atol=1e-3)
        plain = net.eval()(images)
        assert torch.equal(net(images), plain)
        torch.testing.assert_close(official.eval()(images).pooler_output, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", ["plain", "gated", "7b"])
def test_the_names_of_meta(variant: str, tmp_path: Path) -> None:
    official = hugging(**VARIANTS[variant])
    official.save_pretrained(tmp_path)
    tensors = as_meta(load_file(tmp_path / "model.safetensors"))
    file = tmp_path / "dinov3_vits16_pretrain_sat493m-eadcf0ff.pth"
    torch.save(tensors, file)
    loaded = load_model(file, options={"block.num_heads": 4})
    assert not loaded.report.new
    assert not loaded.report.unused
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.mean == (0.430, 0.411, 0.296)
    images = torch.randn(2, 3, 40, 24)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(images), official(images).pooler_output, atol=1e-5, rtol=1e-4)


def test_what_meta_never_published_is_refused(tmp_path: Path) -> None:
    hugging().save_pretrained(tmp_path)
    tensors = as_meta(load_file(tmp_path / "model.safetensors"))
    others = {
        "other frequencies": {"rope_embed.periods": 10.0 ** (torch.arange(3) / 3)},
        "keys with a bias": {"blocks.0.attn.qkv.bias_mask": torch.ones(144)},
    }
    for reason, change in others.items():
        torch.save({**tensors, **change}, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=reason):
            load_model(tmp_path / "m.pth", options={"block.num_heads": 4})
    hugging(rope_theta=10.0).save_pretrained(tmp_path / "theta")
    with pytest.raises(CheckpointError, match="rope_theta"):
        load_model(tmp_path / "theta")
    hugging(key_bias=True).save_pretrained(tmp_path / "keys")
    with pytest.raises(CheckpointError, match="keys with a bias"):
        load_model(tmp_path / "keys")
    hugging(use_gated_mlp=True).save_pretrained(tmp_path / "geglu")
    with pytest.raises(CheckpointError, match="gated MLP"):
        load_model(tmp_path / "geglu")


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_plus_patch16_dinov3_qkvb"])
def test_the_names_of_timm(name: str, tmp_path: Path) -> None:
    """timm pools by the mean unless its config says otherwise, and has models with and without biases."""
    torch.manual_seed(0)
    official = randomised(timm.create_model(name, depth=2, num_classes=5))
    save_file(official.state_dict(), tmp_path / f"{name}.safetensors")
    loaded = load_model(tmp_path / f"{name}.safetensors")
    assert not loaded.report.new
    assert not loaded.report.unused
    for size in [(256, 256), (64, 96)]:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(loaded.model(images), official(images), atol=1e-5, rtol=1e-4)


def test_a_model_without_some_heads_equals_the_edited_one(tmp_path: Path) -> None:
    hugging().save_pretrained(tmp_path)
    net = load_model(tmp_path).model
    images, heads = torch.randn(2, 3, 32, 48), [[1], [3]]
    edit = {"encoder.blocks.0.attn": [1], "encoder.blocks.1.attn": [3]}
    with torch.no_grad(), saccade.intervene(net, heads=edit):
        expected = net(images)
    smaller = prune(net, "vit", heads=heads)
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), expected)
        torch.testing.assert_close(fold_norms(deepcopy(smaller.double()))(images.double()), smaller(images.double()))


def test_fine_tuning_and_cuts_in_the_tokens(tmp_path: Path) -> None:
    """A head is added, gradients reach every parameter, and a block's output can be taken as maps."""
    hugging().save_pretrained(tmp_path)
    loaded = load_model(tmp_path, num_classes=3)
    assert set(loaded.report.new) == {"head.weight", "head.bias"}
    net = loaded.model.train()
    nn.functional.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    maps = net.features(torch.randn(1, 3, 32, 48))
    assert [tuple(m.features.shape) for m in maps] == [(1, 48, 4, 6)]


def test_an_encoder_predicts_its_features_and_is_exported(tmp_path: Path) -> None:
    hugging(num_hidden_layers=1).save_pretrained(tmp_path / "hf")
    predictor = saccade.load(tmp_path / "hf")
    photograph = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(photograph)
    (result,) = predictor.predict([photograph])
    assert result.vector.shape == (48,)
    exported = saccade.export(predictor, tmp_path / "encoder.onnx")
    again = open_exported(exported.path, table.decoder).predict(photograph)
    np.testing.assert_allclose(again.vector, result.vector, atol=1e-4)


def test_weights_alone_and_a_model_without_registers(tmp_path: Path) -> None:
    official = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**{**SMALL, "num_register_tokens": 0})).eval()
    official.save_pretrained(tmp_path / "theirs")
    state, images = load_file(tmp_path / "theirs" / "model.safetensors"), torch.randn(1, 3, 32, 48)
    state.pop("embeddings.register_tokens", None)
    save_file(state, tmp_path / "weights.safetensors")
    loaded = load_model(tmp_path / "weights.safetensors", options={"block.num_heads": 4})
    assert loaded.model.config.image_size == (224, 224)
    assert loaded.model.config.num_registers == 0
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(images), official(images).pooler_output, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_to_the_integer(name: str) -> None:
    width, depth, heads, mlp_dim, options = PUBLISHED[name]
    with torch.device("meta"):
        ours = saccade.create(name)
        config = transformers.DINOv3ViTConfig(
            hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=mlp_dim,
            num_register_tokens=4, **options,
        )  # fmt: skip
        theirs = transformers.DINOv3ViTModel(config)
    count = sum(p.numel() for n, p in theirs.named_parameters() if n != "embeddings.mask_token")
    assert sum(p.numel() for p in ours.parameters()) == count


@pytest.mark.parametrize("variant", ["plain", "gated", "7b"])
def test_other_projects_open_what_is_written(variant: str, tmp_path: Path) -> None:
    official = hugging(**VARIANTS[variant])
    official.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    save_model_dir(tmp_path / "ours", loaded)
    convert(tmp_path / "ours", tmp_path / "hf", "huggingface")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "hf"))
    assert set(first) - set(second) == {"embeddings.mask_token"}
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())
    again, images = transformers.AutoModel.from_pretrained(tmp_path / "hf").eval(), torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(again(images).pooler_output, official(images).pooler_output)
    convert(tmp_path / "ours", tmp_path / "timm", "timm")
    of_timm = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(of_timm(images), official(images).pooler_output, atol=1e-5, rtol=1e-4)
    with pytest.raises(CheckpointError, match="rotary_normalized"):
        convert(tmp_path / "ours", tmp_path / "t.pth", "torchvision")


def test_dinov2_is_written_too(tmp_path: Path) -> None:
    for registers, classes in ((0, 5), (4, 0)):
        options = {"depth": 2, "block.embed_dim": 64, "block.num_heads": 4, "block.mlp_dim": 128}
        options |= {"num_registers": registers, "pooling": "cls+mean" if classes else "cls"}
        net = randomised(saccade.create("dinov2_s14", image_size=56, num_classes=classes, options=options))
        labels = tuple(f"class {i}" for i in range(classes))
        save_model_dir(tmp_path / f"ours{registers}", LoadedModel(net, "vit", labels, None))
        convert(tmp_path / f"ours{registers}", tmp_path / f"hf{registers}", "huggingface")
        kind = transformers.AutoModelForImageClassification if classes else transformers.AutoModel
        theirs, images = kind.from_pretrained(tmp_path / f"hf{registers}").eval(), torch.randn(1, 3, 56, 56)
        with torch.no_grad():
            expected = theirs(images).logits if classes else theirs(images).pooler_output
            torch.testing.assert_close(net(images), expected, atol=1e-5, rtol=1e-4)


def meta_convnext(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {
        "depthwise_conv": "dwconv", "pointwise_conv": "pwconv", ".layers.": ".", "layer_norm": "norm",
    }  # fmt: skip
    meta: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for theirs, here in names.items():
            name = name.replace(theirs, here)
        if ".downsample_layers." in name:
            _, stage, _, rest = name.split(".", 3)
            name = f"downsample_layers.{stage}.{rest}"
        meta[name] = tensor
    return {**meta, "norms.3.weight": meta["norm.weight"], "norms.3.bias": meta["norm.bias"]}


def test_convnext_in_the_names_of_hugging_face_and_meta(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = transformers.DINOv3ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1], layer_scale_init_value=0.5
    )
    official = randomised(transformers.DINOv3ConvNextModel(settings))
    official.save_pretrained(tmp_path / "hf")
    torch.save(meta_convnext(load_file(tmp_path / "hf" / "model.safetensors")), tmp_path / "dinov3_convnext_tiny.pth")
    for path in (tmp_path / "hf", tmp_path / "dinov3_convnext_tiny.pth"):
        loaded = load_model(path)
        assert not loaded.report.new
        assert not loaded.report.unused
        assert loaded.preprocessing is not None
        assert loaded.preprocessing.resize == "exact"
        for size in [(64, 64), (96, 64), (32, 128)]:
            images = torch.randn(2, 3, *size)
            with torch.no_grad():
                theirs = official(images, output_hidden_states=True)
                torch.testing.assert_close(loaded.model(images), theirs.pooler_output, atol=1e-5, rtol=1e-4)
                for part, expected in zip(loaded.model.features(images), theirs.hidden_states[1:], strict=True):
                    torch.testing.assert_close(part.features, expected, atol=1e-5, rtol=1e-4)
    convert(tmp_path / "hf", tmp_path / "back", "huggingface")
    again, images = transformers.AutoModel.from_pretrained(tmp_path / "back").eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(images).pooler_output, official(images).pooler_output, atol=1e-5, rtol=1e-4)


def test_normalised_positions_are_those_of_the_image() -> None:
    """The centres of 2 x 2 cells lie at a quarter and three quarters: angles of -π and π over temperature^(4i / d)."""
    cos, sin = rotary_positions((2, 2), 8, 1, "rotary_normalized")
    assert (cos[0] == 1).all()
    assert (sin[0] == 0).all()
    slow = torch.pi / 10
    places = [[-torch.pi, -slow], [torch.pi, slow]]
    angles = torch.tensor([row + column for row in places for column in places])
    torch.testing.assert_close(cos[1:], angles.cos())
    torch.testing.assert_close(sin[1:], angles.sin(), atol=1e-6, rtol=0)
