"""SigLIP and SigLIP 2 in the names of Hugging Face, open_clip and timm, at several image sizes, there and back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import saccade
from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.errors import CheckpointError
from saccade.models.clip import CLIP
from tests.parity.cases import SMALL_TIMM, randomised

transformers = pytest.importorskip("transformers")

TEXT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 8, "bos_token_id": 2, "eos_token_id": 1, "projection_size": 48,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 8,
}  # fmt: skip
TOKENS = torch.tensor([[5, 9, 1, 1, 1, 1, 1, 1], [7, 3, 60, 2, 1, 1, 1, 1], [63, 4, 8, 11, 12, 13, 14, 1]])
# Width, depth, heads and MLP width of both encoders, patch, image, vocabulary.
BASE, LARGE = (768, 12, 12, 3072), (1024, 24, 16, 4096)
SO, GIANT = (1152, 27, 16, 4304), (1536, 40, 16, 6144)
PUBLISHED = {
    "siglip_b16": (BASE, BASE, 16, 224, 32_000),
    "siglip_l16": (LARGE, LARGE, 16, 256, 32_000),
    "siglip_so14": (SO, SO, 14, 384, 32_000),
    "siglip2_b32": (BASE, BASE, 32, 256, 256_000),
    "siglip2_b16": (BASE, BASE, 16, 224, 256_000),
    "siglip2_l16": (LARGE, LARGE, 16, 256, 256_000),
    "siglip2_so14": (SO, SO, 14, 224, 256_000),
    "siglip2_so16": (SO, SO, 16, 256, 256_000),
    "siglip2_g16": (GIANT, SO, 16, 256, 256_000),
}


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def hugging(folder: Path, **vision: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.SiglipConfig(text_config=TEXT, vision_config={**VISION, "image_size": 32, **vision})
    official: Any = randomised(transformers.SiglipModel(config))
    official.save_pretrained(folder)
    official.set_attn_implementation("eager")
    return official


@torch.no_grad()
@pytest.mark.parametrize("native", [32, 36])  # 36 is no multiple of the patch: So400m/14 at 384 pixels
def test_hugging_face(native: int, tmp_path: Path) -> None:
    """Logits, tokens and attention of every layer of both encoders, at the native size and at two others."""
    official = hugging(tmp_path, image_size=native)
    loaded = load_model(tmp_path)
    assert not loaded.report.new
    assert not loaded.report.unused
    assert loaded.preprocessing is not None
    assert (loaded.preprocessing.size, loaded.preprocessing.resize) == ((native, native), "exact")
    for size in [(native, native), (48, 64), (24, 16)]:
        images = torch.randn(2, 3, *size)
        with saccade.record(loaded.model) as trace:
            theirs = official(
                input_ids=TOKENS, pixel_values=images, interpolate_pos_encoding=size != (native, native),
                output_attentions=True, output_hidden_states=True,
            )  # fmt: skip
            ours = loaded.model(images, TOKENS)
        close(ours.image, theirs.image_embeds)
        close(ours.text, theirs.text_embeds)
        close(ours.logits, theirs.logits_per_image)
        for path, output in (("backbone.encoder", theirs.vision_model_output), ("text", theirs.text_model_output)):
            for i in range(2):
                close(trace.attention[f"{path}.blocks.{i}.attn"], output.attentions[i])
                close(trace.tokens[f"{path}.blocks.{i}"], output.hidden_states[i + 1])
        pool = trace.attention["backbone.pool.attn"]
        close(pool.sum(-1), torch.ones_like(pool[..., 0]))


@torch.no_grad()
def test_naflex_of_hugging_face(tmp_path: Path) -> None:
    """Patches as rows of pixels; positions resampled with antialiasing, which shows where the grid shrinks."""
    torch.manual_seed(0)
    config = transformers.Siglip2Config(text_config=TEXT, vision_config={**VISION, "num_patches": 16})
    official: Any = randomised(transformers.Siglip2Model(config))
    official.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert loaded.model.config.image_size == (32, 32)
    for size in [(32, 32), (48, 24), (16, 24)]:
        images, grid = torch.randn(2, 3, *size), (size[0] // 8, size[1] // 8)
        patches = images.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        theirs = official(
            input_ids=TOKENS, pixel_values=patches, pixel_attention_mask=torch.ones(2, patches.shape[1]),
            spatial_shapes=torch.tensor([grid, grid]),
        )  # fmt: skip
        close(loaded.model(images, TOKENS).logits, theirs.logits_per_image)
    convert(tmp_path / "theirs", tmp_path / "back", "huggingface")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "back"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert isinstance(transformers.AutoModel.from_pretrained(tmp_path / "back"), transformers.Siglip2Model)


def test_transformers_opens_what_is_written(tmp_path: Path) -> None:
    official = hugging(tmp_path / "theirs", image_size=36)
    convert(tmp_path / "theirs", tmp_path / "ours", "saccade")
    convert(tmp_path / "ours", tmp_path / "back", "huggingface")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "back"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    again, images = transformers.AutoModel.from_pretrained(tmp_path / "back").eval(), torch.randn(1, 3, 36, 36)
    with torch.no_grad():
        expected = official(input_ids=TOKENS, pixel_values=images).logits_per_image
        close(again(input_ids=TOKENS, pixel_values=images).logits_per_image, expected)
    with pytest.raises(CheckpointError, match="openai has no clip with objective='sigmoid'"):
        convert(tmp_path / "ours", tmp_path / "clip.pth", "openai")


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_to_the_integer(name: str) -> None:
    image, text, patch, size, vocab_size = PUBLISHED[name]
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    with torch.device("meta"):
        ours = saccade.create(name)
        config = transformers.SiglipConfig(
            text_config={**dict(zip(keys, text)), "vocab_size": vocab_size, "projection_size": image[0]},
            vision_config={**dict(zip(keys, image)), "patch_size": patch, "image_size": size},
        )
        theirs = transformers.SiglipModel(config)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@torch.no_grad()
@pytest.mark.parametrize("version", [1, 2])
def test_open_clip(version: int, tmp_path: Path) -> None:
    """With its JSON, by which the first version has GELU itself and the second its approximation; and without."""
    open_clip = pytest.importorskip("open_clip")
    timm = pytest.importorskip("timm")
    name = "vit_base_patch16_siglip_224" if version == 1 else "vit_so400m_patch16_siglip_256"
    text: dict[str, Any] = {
        "context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 2, "no_causal_mask": True,
        "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
    }  # fmt: skip
    text |= {"act_kwargs": {"approximate": "tanh"}} if version == 2 else {"proj_type": "none"}
    sizes: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4}
    vision = {"image_size": 32, "timm_model_name": name, "timm_pool": "map", "timm_proj": "none"}
    torch.manual_seed(0)
    tower = {**vision, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "avg"}
    official: Any = open_clip.CustomTextCLIP(64, tower, text, init_logit_bias=-10)
    official.visual.trunk = timm.create_model(name, num_classes=0, **{**sizes, "dynamic_img_size": True})
    official = randomised(official).eval()
    save_file(official.state_dict(), tmp_path / "open_clip_model.safetensors")
    model_cfg = {"embed_dim": 64, "text_cfg": text, "vision_cfg": {**vision, "timm_model_kwargs": {"num_heads": 4}}}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    content = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    loaded = load_model(tmp_path / "open_clip_model.safetensors")
    assert not loaded.report.new
    assert not loaded.report.unused
    assert loaded.preprocessing is not None
    assert (loaded.preprocessing.interpolation, loaded.preprocessing.resize) == ("bilinear", "exact")
    net = loaded.model
    assert isinstance(net, CLIP)
    for size in [(32, 32), (48, 64), (24, 16)]:
        images = torch.randn(2, 3, *size)
        close(net(images, TOKENS).logits, official.get_logits(images, TOKENS)[0])
    (tmp_path / "open_clip_config.json").unlink()
    bare = load_model(tmp_path / "open_clip_model.safetensors", options={"backbone_config.block.num_heads": 4})
    assert bare.model.config.text.block.activation == "gelu_tanh"
    assert any("tanh approximation of GELU assumed" in note for note in bare.report.notes)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224", "vit_so400m_patch16_siglip_256"])
def test_an_image_tower_of_timm_is_a_backbone(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    official = randomised(timm.create_model(name, num_classes=0, dynamic_img_size=True, **SMALL_TIMM))
    save_file(official.state_dict(), tmp_path / f"{name}.safetensors")
    loaded = load_model(tmp_path / f"{name}.safetensors", options={"block.num_heads": 4})
    assert loaded.model.config.pooling == "attention"
    for size in [(32, 32), (48, 64), (24, 16)]:
        images = torch.randn(2, 3, *size)
        close(loaded.model(images), official(images))
    save_model_dir(tmp_path / "ours", loaded)
    convert(tmp_path / "ours", tmp_path / "timm", "timm")
    again = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    images = torch.randn(1, 3, 32, 32)
    close(again(images), official(images))


def test_the_output_of_a_text_is_that_of_its_last_token_and_sees_its_padding(tmp_path: Path) -> None:
    hugging(tmp_path)
    net = load_model(tmp_path).model.eval()
    assert isinstance(net, CLIP)
    config = net.config.text
    assert config.fixed_length
    assert torch.equal(config.without_padding(TOKENS), TOKENS)
    assert config.output_index(TOKENS).tolist() == [7, 7, 7]
    with torch.no_grad():
        changed = TOKENS.clone()
        changed[0, 5] = 17  # behind the end token
        assert not torch.allclose(net.encode_text(changed)[0], net.encode_text(TOKENS)[0], atol=1e-4)
        output = net(torch.randn(2, 3, 32, 32), TOKENS)
        cosines = F.cosine_similarity(output.image[:, None], output.text[None], dim=-1)
        close(cosines * output.scale + output.bias, output.logits)
    net.logit_scale.data.fill_(4.77)  # about that of published models, above CLIP's largest one
    net.clamp_parameters()
    assert net.logit_scale.item() == pytest.approx(4.77)


@pytest.mark.slow
def test_both_encoders_compile_and_export(tmp_path: Path) -> None:
    hugging(tmp_path, image_size=36)
    net, images = load_model(tmp_path).model.eval(), torch.randn(2, 3, 36, 36)
    with torch.no_grad():
        plain = net(images, TOKENS)
        compiled = torch.compile(net, backend="aot_eager", fullgraph=True)(images, TOKENS)
        exported = torch.export.export(net, (images, TOKENS)).module()(images, TOKENS)
    for output in (compiled, exported):
        for ours, expected in zip(output, plain, strict=True):
            close(ours, expected)
