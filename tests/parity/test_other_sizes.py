"""Positions at other image sizes than the checkpoint's: each publisher resamples them by a rule of its own, which holds
when the images come in another size, when the model is opened for one, and after a round through a model directory."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from saccade.checkpoints.directory import save_model_dir
from saccade.checkpoints.loading import load_model
from tests.parity.cases import HUGGING, SMALL_VIT, randomised

NATIVE = 64
SIZES = [(64, 64), (48, 64), (96, 80), (96, 96)]
SIZED = {**HUGGING, "gated dinov2": HUGGING["dinov2"]}


def with_random_positions(model: nn.Module, part: str) -> nn.Module:
    with torch.no_grad():
        for name, parameter in randomised(model).named_parameters():
            if part in name:
                parameter.normal_()
    return model


@torch.no_grad()
def compare(path: Path, official: Callable[[Tensor], Tensor], folder: Path, size: tuple[int, int], **load) -> None:
    """Outputs for a native model at run time, one opened for the size, and one from a model directory."""
    images = torch.randn(2, 3, *size)
    expected = official(images)
    native = load_model(path, **load)
    save_model_dir(folder / "saved", native)
    saved = folder / "saved"
    for model in (native.model, load_model(path, **{**load, "image_size": size}).model, load_model(saved).model,
                  load_model(saved, image_size=size).model):  # fmt: skip
        output = model(images)
        output = output[0] if isinstance(output, tuple) else output
        assert (output - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SIZED)
def test_hugging_face(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, config = SIZED[name]
    options = {**SMALL_VIT, "image_size": NATIVE, **({"use_swiglu_ffn": True} if "gated" in name else {})}
    official = getattr(transformers, model)(getattr(transformers, config)(**options))
    with_random_positions(official, "position_embeddings").save_pretrained(tmp_path / "theirs")
    argument = {} if "dinov2" in name else {"interpolate_pos_encoding": True}
    compare(tmp_path / "theirs", lambda images: official(images, **argument).logits, tmp_path, size)


@pytest.mark.parametrize("size", SIZES)
def test_hugging_face_clip(size: tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tower = {**SMALL_VIT, "image_size": NATIVE}
    text = {k: v for k, v in SMALL_VIT.items() if k not in ("image_size", "patch_size")} | {"vocab_size": 99}
    config = transformers.CLIPConfig(text_config=text, vision_config=tower, projection_dim=24)
    official = with_random_positions(transformers.CLIPModel(config), "vision_model.embeddings.position_embedding")
    official.save_pretrained(tmp_path / "theirs")
    images, model = torch.randn(2, 3, *size), load_model(tmp_path / "theirs").model
    with torch.no_grad():
        pooled = official.vision_model(images, interpolate_pos_encoding=True).pooler_output
        expected = official.visual_projection(pooled)
        expected = expected / expected.norm(dim=-1, keepdim=True)
        output = model(images, torch.tensor([[97, 98]])).image
    assert (output - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"reg_tokens": 4, "no_embed_class": True}, {"class_token": False}], ids=str)
def test_timm(options: dict, size: tuple[int, int], tmp_path: Path) -> None:
    vit = pytest.importorskip("timm.models.vision_transformer")
    sizes = {"img_size": NATIVE, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 7}
    pool = {} if options.get("class_token", True) else {"global_pool": "avg"}
    official = vit.VisionTransformer(**sizes, **options, **pool, dynamic_img_size=True)
    with_random_positions(official, "pos_embed")
    save_file(official.state_dict(), tmp_path / "model.safetensors")
    compare(tmp_path / "model.safetensors", official, tmp_path, size, options={"block.num_heads": 4})


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (32, 32)])
def test_torchvision(size: tuple[int, int], tmp_path: Path) -> None:
    """torchvision's models run at one size; its function carries the positions of a file to another square."""
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    official = with_random_positions(VisionTransformer(NATIVE, 8, 2, 2, 128, 96, num_classes=5), "pos_embedding")
    torch.save(official.state_dict(), tmp_path / "theirs.pth")
    larger = VisionTransformer(size[0], 8, 2, 2, 128, 96, num_classes=5).eval()
    larger.load_state_dict(interpolate_embeddings(size[0], 8, dict(official.state_dict())))
    compare(tmp_path / "theirs.pth", larger, tmp_path, size)


def meta_positions(table: Tensor, size: tuple[int, int], patch: int, offset: float, antialias: bool) -> Tensor:
    """`interpolate_pos_encoding` of facebookresearch/dinov2; DINO's is that with an offset and without antialiasing.

    Their names for the height and the width are exchanged, and the table's first axis is the vertical one.
    """
    side = math.isqrt(table.shape[1] - 1)
    new = (size[0] // patch, size[1] // patch)
    if new == (side, side):
        return table
    keywords = {"scale_factor": tuple((n + offset) / side for n in new)} if offset else {"size": new}
    places = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    places = nn.functional.interpolate(places, mode="bicubic", antialias=antialias, **keywords)
    return torch.cat((table[:, :1], places.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


META = {  # transformers has the same network: registers, gated MLP, name of the file
    "DINOv2": (False, False, "dinov2_vits14_pretrain.pth"),
    "DINOv2 with registers": (True, False, "dinov2_vits14_reg4_pretrain.pth"),
    "DINOv2 giant": (False, True, "dinov2_vitg14_pretrain.pth"),
    "DINOv2 giant with registers": (True, True, "dinov2_vitg14_reg4_pretrain.pth"),
}
TO_META = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj", "embeddings.position_embeddings": "pos_embed",
    "embeddings.": "", "encoder.layer.": "blocks.", "attention.output.dense": "attn.proj", "layernorm.": "norm.",
    "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma", "weights_in": "w12", "weights_out": "w3",
}  # fmt: skip


def as_meta(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file of transformers' DINOv2 under Meta's names."""
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for theirs, meta in TO_META.items():
            name = name.replace(theirs, meta)
        if ".attention.attention." in name:
            block, _, part = name.partition(".attention.attention.")
            if part.startswith("query"):
                parts = [state[f"encoder.layer.{block[7:]}.attention.attention.{p}.{part[6:]}"] for p in
                         ("query", "key", "value")]  # fmt: skip
                named[f"{block}.attn.qkv.{part[6:]}"] = torch.cat(parts)
        else:
            named[name] = tensor
    return named


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", META)
def test_meta_dinov2(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    registers, gated, file = META[name]
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    options = {**SMALL_VIT, "hidden_size": 128, "num_attention_heads": 2, "image_size": NATIVE}
    official = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**options, use_swiglu_ffn=gated)
    )
    with_random_positions(official, "position_embeddings")
    official.save_pretrained(tmp_path / "theirs")
    torch.save(as_meta(load_file(tmp_path / "theirs" / "model.safetensors")), tmp_path / file)
    loaded = load_model(tmp_path / file)
    assert not loaded.report.new
    assert not loaded.report.unused
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)
    table = official.embeddings.position_embeddings.detach()
    offset, antialias = (0.0, True) if registers else (0.1, False)
    official.embeddings.interpolate_pos_encoding = lambda *_: meta_positions(table, size, 8, offset, antialias)
    compare(tmp_path / file, lambda images: official(images).pooler_output, tmp_path, size)


@pytest.mark.parametrize("size", SIZES)
def test_meta_dino(size: tuple[int, int], tmp_path: Path) -> None:
    """DINO's tensors have timm's names, and only the name of the file states whose they are."""
    vit = pytest.importorskip("timm.models.vision_transformer")
    sizes = {"img_size": NATIVE, "patch_size": 8, "embed_dim": 384, "depth": 2, "num_heads": 6, "num_classes": 0}
    official = with_random_positions(vit.VisionTransformer(**sizes), "pos_embed")
    file = tmp_path / "dino_deitsmall8_pretrain.pth"
    torch.save(official.state_dict(), file)
    table = official.pos_embed.detach()
    other = vit.VisionTransformer(**{**sizes, "img_size": size}).eval()
    resampled = {"pos_embed": meta_positions(table, size, 8, 0.1, False)}
    other.load_state_dict({**official.state_dict(), **resampled})
    compare(file, other, tmp_path, size)
    preprocessing = load_model(file).preprocessing
    assert preprocessing is not None
    assert preprocessing.mean == (0.485, 0.456, 0.406)


def test_the_teacher_of_a_training_checkpoint(tmp_path: Path) -> None:
    """The projection heads of self-supervised training are left out, and FSDP's chunks of blocks are joined."""
    vit = pytest.importorskip("timm.models.vision_transformer")
    sizes = {"img_size": NATIVE, "patch_size": 8, "embed_dim": 384, "depth": 2, "num_heads": 6, "num_classes": 0}
    official = with_random_positions(vit.VisionTransformer(**sizes, init_values=0.1), "pos_embed")
    named = {"mask_token": torch.zeros(1, 384), "dino_head.mlp.0.weight": torch.zeros(8, 384)}
    for name, tensor in official.state_dict().items():
        chunk = f"blocks.{name.split('.')[1]}." if name.startswith("blocks.") else ""
        named[f"backbone.{chunk}{name.removeprefix('blocks.')}" if chunk else f"backbone.{name}"] = tensor
    torch.save({"teacher": named, "iteration": 7}, tmp_path / "teacher_checkpoint.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "teacher_checkpoint.pth").model(images), official(images))


@pytest.mark.parametrize(("name", "heads"), [("test_vit", 2), ("test_vit3", 3), ("vit_base_patch16_gap_224", 16)])
def test_numbers_of_heads_of_timm(name: str, heads: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from saccade.checkpoints.formats import timm_vit
    from saccade.checkpoints.metadata import CheckpointMetadata

    with torch.device("meta"):
        official = timm.create_model(name)
    assert official.blocks[0].attn.num_heads == heads
    shapes = {key: tuple(tensor.shape) for key, tensor in official.state_dict().items()}
    for metadata in (CheckpointMetadata({"architecture": name}), CheckpointMetadata(file_name=f"{name}.safetensors")):
        assert timm_vit.infer(shapes, metadata).block.num_heads == heads
