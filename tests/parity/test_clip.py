"""CLIP against OpenAI's stored outputs, and live against open_clip and Hugging Face: both towers, ViT and ResNet."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import saccade
from saccade.checkpoints.formats.openai_clip import image_heads
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.metadata import CheckpointMetadata
from saccade.checkpoints.reading import read_tensors
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError, ConfigError
from saccade.models.clip import CLIP
from tests.parity.cases import randomised

CONFORMANCE = Path(os.environ.get("SACCADE_SHARED", "")) / "conformance" / "openai_clip_vit.pth"
TEXTS = torch.tensor([[60, 5, 9, 63, 0, 0, 0, 0], [60, 7, 63, 0, 0, 0, 0, 0], [60, 1, 2, 3, 4, 5, 6, 63]])


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-4 * max(1.0, theirs.abs().max().item()), rtol=0)


@pytest.mark.parametrize(
    ("name", "params"),
    [("clip_vit_b32", 151_277_313), ("clip_vit_b16", 149_620_737), ("clip_vit_l14", 427_616_513)],
)
def test_parameters_equal_the_published(name: str, params: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in saccade.create(name).parameters()) == params


@pytest.mark.skipif(not CONFORMANCE.is_file(), reason="needs SACCADE_SHARED")
def test_openais_outputs() -> None:
    loaded = load_model(CONFORMANCE)
    assert loaded.task == "contrastive"
    assert any("quick_gelu" in note for note in loaded.report.notes)
    net, io = loaded.model, load_file(CONFORMANCE.with_name("openai_clip_vit.io.safetensors"))
    assert isinstance(net, CLIP)
    with torch.no_grad():
        close(net.encode_image(io["images"]), io["image_features"])
        close(net.encode_text(io["tokens"]), io["text_features"])
        close(net(io["images"], io["tokens"]).logits, io["logits_per_image"])


@torch.no_grad()
def test_a_resnets_pool_at_other_sizes_is_timms(tmp_path: Path) -> None:
    """In the forward pass, and when a model is loaded for another size."""
    pooling = pytest.importorskip("timm.layers")
    options = {"backbone_config.depths": [1, 1, 1, 1], "text.depth": 1, "text.vocab_size": 64}
    net = saccade.create("clip_r50", image_size=64, options=options).eval()
    pool = net.backbone.pool  # type: ignore[attr-defined]
    official = pooling.AttentionPool2d(2048, (2, 2), 1024, num_heads=32, qkv_separate=True).eval()
    names = {"attn.q": "q", "attn.k": "k", "attn.v": "v", "attn.proj": "proj"}
    for ours, theirs in names.items():
        official.get_submodule(theirs).load_state_dict(pool.get_submodule(ours).state_dict())
    official.pos_embed.copy_(pool.pos_embed[0])
    for size in [(2, 2), (3, 5), (1, 1)]:
        features = torch.randn(2, 2048, *size)
        torch.testing.assert_close(pool(features), official(features), atol=1e-5, rtol=1e-4)
    saccade.save(net, tmp_path, preprocessing=Preprocessing((64, 64)))
    larger = saccade.load(tmp_path, image_size=(96, 160))
    images = torch.randn(1, 3, 96, 160)
    torch.testing.assert_close(larger.model.embed(images), net.embed(images), atol=1e-5, rtol=1e-4)
    assert larger.source.report.resized == {"backbone.pool.pos_embed": "2 x 2 -> 3 x 5 positions, bicubic-antialias"}


@pytest.mark.parametrize("tower", ["vit", "resnet"])
@pytest.mark.parametrize("quick", [True, False], ids=["quick_gelu", "gelu"])
def test_open_clip(tower: str, quick: bool, tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16}
    if tower == "resnet":
        vision = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 2}
    torch.manual_seed(0)
    official = randomised(open_clip.CLIP(24, vision_cfg=vision, text_cfg=text, quick_gelu=quick)).eval()
    tensors = {name: t.contiguous() for name, t in official.state_dict().items() if name != "attn_mask"}
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    net = load_model(tmp_path / "open_clip_model.safetensors").model
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        close(net.encode_image(images), official.encode_image(images))
        close(net.encode_text(TEXTS), official.encode_text(TEXTS))


def test_a_folder_of_the_hub_in_the_layout_of_open_clip(tmp_path: Path) -> None:
    """`open_clip_config.json` says the activation and the preprocessing, beside a `config.json` of another library."""
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}
    official = randomised(open_clip.CLIP(24, vision_cfg=vision, text_cfg=text, quick_gelu=False)).eval()
    tensors = {name: t.contiguous() for name, t in official.state_dict().items() if name != "attn_mask"}
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    described = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    model = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": described}))
    images = torch.randn(2, 3, 64, 64)
    folder = load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "hidden_act": "quick_gelu"}))
    for loaded in (folder, load_model(tmp_path / "open_clip_model.safetensors")):
        assert loaded.preprocessing is not None
        assert (loaded.preprocessing.mean[0], loaded.preprocessing.std[0]) == (0.5, 0.25)
        assert (loaded.preprocessing.resize, loaded.preprocessing.interpolation) == ("exact", "bilinear")
        with torch.no_grad():
            close(loaded.model.encode_image(images), official.encode_image(images))


@pytest.mark.parametrize(("run", "quick"), [("run", False), ("2024-model_ViT-B-32-quickgelu-lr_0.0005", True)])
def test_checkpoints_of_open_clips_training(run: str, quick: bool, tmp_path: Path) -> None:
    """Its loop writes the epoch, the name of the run and weights under `module.`; its models use GELU unless named."""
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}
    torch.manual_seed(0)
    official = randomised(open_clip.CLIP(24, vision_cfg=vision, text_cfg=text, quick_gelu=quick)).eval()
    weights = {f"module.{name}": tensor for name, tensor in official.state_dict().items()}
    torch.save({"epoch": 1, "name": run, "state_dict": weights, "optimizer": {}}, tmp_path / "epoch_1.pt")
    loaded = load_model(tmp_path / "epoch_1.pt")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        close(loaded.model.encode_image(images), official.encode_image(images))
        close(loaded.model.encode_text(TEXTS), official.encode_text(TEXTS))
    assert any(f"from the run {run!r} of open_clip" in note for note in loaded.report.notes)


def test_the_activation_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Where the name of the run does not show it: for both towers, kept by the model directory."""
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}
    torch.manual_seed(0)
    official = randomised(open_clip.CLIP(24, vision_cfg=vision, text_cfg=text, quick_gelu=True)).eval()
    weights = {f"module.{name}": tensor for name, tensor in official.state_dict().items()}
    torch.save({"epoch": 1, "name": "mine", "state_dict": weights, "optimizer": {}}, tmp_path / "epoch_1.pt")
    options = ["--to", "saccade", "--set", "text.block.activation=quick_gelu"]
    assert main(["convert", str(tmp_path / "epoch_1.pt"), str(tmp_path / "clip"), *options]) == 0
    assert "assumed, from the run" not in capsys.readouterr().out
    loaded, images = load_model(tmp_path / "clip"), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        close(loaded.model.encode_image(images), official.encode_image(images))
        close(loaded.model.encode_text(TEXTS), official.encode_text(TEXTS))


def test_heads_of_open_clips_json(tmp_path: Path) -> None:
    """ViT-H and larger have wider heads; the text encoder's number of heads is its own."""
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 320, "patch_size": 16, "head_width": 80}
    text = {"context_length": 8, "vocab_size": 64, "width": 128, "heads": 4, "layers": 1}
    torch.manual_seed(0)
    official = randomised(open_clip.CLIP(24, vision_cfg=vision, text_cfg=text)).eval()
    save_file(official.state_dict(), tmp_path / "model.safetensors")
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    net, images = load_model(tmp_path).model, torch.randn(2, 3, 32, 32)
    assert isinstance(net, CLIP)
    with torch.no_grad():
        close(net.encode_image(images), official.encode_image(images))
        close(net.encode_text(TEXTS), official.encode_text(TEXTS))


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16), (1792, 16)])
def test_heads_of_published_widths(width: int, heads: int) -> None:
    """As in open_clip's configs of ViT-B, L, H, g, bigG and e, without a JSON beside the file."""
    assert image_heads(width, {}, CheckpointMetadata()) == heads


def test_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    text = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 8, "eos_token_id": 63, "bos_token_id": 60, "hidden_act": "gelu",
    }  # fmt: skip
    vision = {
        "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 64,
        "patch_size": 16,
    }  # fmt: skip
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    official = randomised(transformers.CLIPModel(config)).eval()
    official.save_pretrained(tmp_path)
    net = load_model(tmp_path).model
    assert net.config.text.block.activation == "gelu"
    assert net.config.backbone_config.block.activation == "quick_gelu"
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        theirs = official(input_ids=TEXTS, pixel_values=images)
        ours = net(images, TEXTS)
    close(ours.image, theirs.image_embeds)
    close(ours.text, theirs.text_embeds)
    scale = official.logit_scale.exp() / ours.scale
    close(ours.logits * scale, theirs.logits_per_image)


def test_texts_see_only_what_came_before() -> None:
    torch.manual_seed(0)
    net = saccade.create("clip_small").eval()
    with torch.no_grad():
        found = net(torch.randn(2, 3, 64, 64), TEXTS)
        assert found.scale == net.logit_scale.exp()
        close(F.cosine_similarity(found.image[:, None], found.text[None], dim=-1) * found.scale, found.logits)
        longer = torch.cat((TEXTS, torch.full((3, 4), 0)), dim=1)
        close(net.encode_text(longer), net.encode_text(TEXTS))
        changed = TEXTS.clone()
        changed[0, 5] = 17  # behind the end
        close(net.encode_text(changed), net.encode_text(TEXTS))


@torch.no_grad()
def test_a_bag_of_words_is_the_mean_of_what_is_there() -> None:
    with pytest.raises(ConfigError, match="attends to no other"):
        saccade.create("clip_small", options={"text.depth": 0})
    net = saccade.create("clip_small", options={"text": {"depth": 0, "pooling": "mean"}}).eval()
    tokens = torch.tensor([[1, 5, 9, 1023, 0, 0]])
    text = net.text
    words = text.norm(text.token_embed(tokens[:, :4]) + text.pos_embed[:4])
    torch.testing.assert_close(net.encode_text(tokens), net.text_proj(words.mean(1)))


def test_an_archive_gives_its_tensors_and_runs_nothing(tmp_path: Path) -> None:
    class Inner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 4).half())
            self.sizes = [1, 2]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.T

    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = Inner()
            self.register_buffer("shown", torch.arange(6).view(2, 3).T)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.visual(x)

    net = Outer()
    torch.jit.script(net).save(tmp_path / "archive.pt")
    found = read_tensors(tmp_path / "archive.pt")
    assert found.tensors.keys() == {"visual.weight", "shown"}
    assert torch.equal(found.tensors["visual.weight"], net.visual.weight)
    assert torch.equal(found.tensors["shown"], net.shown)
    assert "not its code" in found.notes[0]
    with zipfile.ZipFile(tmp_path / "archive.pt") as old, zipfile.ZipFile(tmp_path / "evil.pt", "w") as new:
        for member in old.namelist():
            evil = pickle.dumps(print, 2) if member.endswith("/data.pkl") else old.read(member)
            new.writestr(member, evil)
    with pytest.raises(CheckpointError, match="not read"):
        read_tensors(tmp_path / "evil.pt")
