"""To other projects and back: the same bits, the same outputs there, the same preprocessing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import saccade
from saccade.checkpoints.convert import FILES, WRITERS, convert
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.data.tokenizer import Tokenizer
from saccade.errors import CheckpointError, ConfigError
from saccade.models.zoo import architecture_of
from tests.parity.cases import randomised

SMALL = {
    "vit": ("vit_ti16", 32, {"depth": 2}),
    "deit": ("deit_ti16", 32, {"depth": 2}),
    "hybrid": ("hybrid_r_ti16", 64, {"depth": 1}),
    "mae": ("mae_b16", 32, {"depth": 1, "decoder_depth": 1, "block.embed_dim": 64, "block.num_heads": 4}),
    "resnet": ("resnet18", 64, {}),
    "resnet_small": ("resnet18", 64, {"depths": [1, 1, 1, 1], "width": 16}),  # timm and torchvision build no such one
    "vgg": ("vgg11", 64, {}),
    "alexnet": ("alexnet", 96, {}),
    "convnext": ("convnext_t", 64, {"depths": [1, 1, 2, 1], "widths": [16, 32, 64, 128]}),
    "convmixer": ("convmixer_768_32", 28, {}),
    "bit": ("bit_r50x1", 64, {"depths": [1, 1]}),
    "bit_published": ("bit_r50x1", 64, {}),  # timm builds no other
    "perceiver": (
        "perceiver_fourier",
        224,
        {
            "latents.count": 4,
            "latents.block.embed_dim": 32,
            "latents.block.mlp_dim": 32,
            "latents.key_dim": 261,
            "latents.value_dim": 261,
            "latents.passes": 2,
            "latents.depth": 1,
        },
    ),
    "clip": (
        "clip_vit_b32",
        64,
        {
            "backbone_config.depth": 1,
            "backbone_config.block.embed_dim": 64,
            "backbone_config.block.num_heads": 1,
            "backbone_config.block.mlp_dim": 96,
            "text.depth": 1,
            "text.block.embed_dim": 64,
            "text.block.num_heads": 1,
            "text.block.mlp_dim": 96,
            "text.vocab_size": 560,
            "text.context_length": 12,
            "embed_dim": 24,
        },
    ),
}
LABELS = ("cat", "dog", "fish", "owl", "bee")
LARGE = {"vgg", "alexnet", "convmixer", "bit_published"}  # of one size only: up to half a gigabyte
ELSEWHERE = {"bert", "perceiver_text", "depth_anything"}  # go there and back in tests of their own


def model_dir(folder: Path, architecture: str, **options) -> LoadedModel:
    name, size, small = SMALL[architecture]
    torch.manual_seed(0)
    classes = 0 if architecture in ("mae", "clip") else len(LABELS)
    net = saccade.create(name, num_classes=classes, image_size=size, options={**small, **options})
    preprocessing = Preprocessing((size, size), crop_pct=0.8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    loaded = LoadedModel(randomised(net), architecture_of(name), LABELS[:classes], preprocessing)
    save_model_dir(folder, loaded)
    return loaded


def slow_where_large(architecture: str, *others: str) -> Any:
    """A case of a test, marked where it writes a lot; a VGG, of half a gigabyte, is converted for torchvision alone
    outside of long tests."""
    marks = [pytest.mark.slow] if architecture in LARGE else []
    marks += [pytest.mark.long] if architecture == "vgg" and not others else []
    return pytest.param(*others, architecture, marks=marks)


def sized(target: str, architecture: str) -> str:
    """The key of `SMALL` for what a target can hold."""
    return {("timm", "bit"): "bit_published", ("huggingface", "resnet"): "resnet_small"}.get(
        (target, architecture), architecture
    )


Written = Callable[[str, str], tuple[LoadedModel, Path]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """(target, architecture) -> our model, and the file or folder that it was converted to; each is written once."""
    folder = tmp_path_factory.mktemp("written")
    models: dict[str, LoadedModel] = {}

    def write(target: Any, architecture: str) -> tuple[LoadedModel, Path]:
        if architecture not in models:
            models[architecture] = model_dir(folder / architecture, architecture)
        there = folder / f"{architecture}-{target}{'.pth' if target in FILES else ''}"
        if not there.exists():
            convert(folder / architecture, there, target)
        return models[architecture], there

    return write


@pytest.mark.parametrize(
    ("target", "architecture"),
    [(t, sized(t, a)) for t, writers in WRITERS.items() for a in writers if sized(t, a) not in LARGE | ELSEWHERE],
)
def test_there_and_back_is_the_same_bits(target: str, architecture: str, written: Written) -> None:
    """`convert` itself compares the bits; of large models the other library's outputs are compared as well."""
    ours, there = written(target, architecture)
    config = ours.model.config
    heads = (
        {"block.num_heads": config.block.num_heads}
        if hasattr(config, "block") and not architecture.startswith("resnet")
        else {}
    )
    back = load_model(there, image_size=config.image_size, options=heads)
    state = back.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in ours.model.state_dict().items())
    if target not in FILES:
        assert back.preprocessing == ours.preprocessing
        assert back.labels == ours.labels


@torch.no_grad()
@pytest.mark.parametrize(
    "architecture", [sized("huggingface", a) for a in sorted(set(WRITERS["huggingface"]) - {"mae", "clip"} - ELSEWHERE)]
)
def test_transformers_opens_it_with_its_processor(architecture: str, written: Written) -> None:
    transformers = pytest.importorskip("transformers")
    ours, there = written("huggingface", architecture)
    theirs = transformers.AutoModelForImageClassification.from_pretrained(there).eval()
    size = ours.model.config.image_size[0]
    images = torch.randn(2, 3, size, size)
    close(ours.model(images), theirs(images).logits)
    assert theirs.config.id2label[3] == "owl"

    processor = transformers.AutoImageProcessor.from_pretrained(there)
    edge = int(size / 0.8)
    picture = Image.effect_noise((edge, edge), 80).convert("RGB")  # no resizing: only crop, range and statistics
    assert ours.preprocessing is not None
    close(ours.preprocessing(picture)[None], processor(picture, return_tensors="pt").pixel_values)


@torch.no_grad()
@pytest.mark.parametrize("architecture", [slow_where_large(sized("timm", a)) for a in sorted(WRITERS["timm"])])
def test_timm_opens_it(architecture: str, written: Written) -> None:
    timm = pytest.importorskip("timm")
    ours, there = written("timm", architecture)
    theirs = timm.create_model(f"local-dir:{there}", pretrained=True).eval()
    size = ours.model.config.image_size[0]
    images = torch.randn(2, 3, size, size)
    close(ours.model(images), theirs(images))
    assert theirs.pretrained_cfg["mean"] == [0.4, 0.5, 0.6]
    assert theirs.pretrained_cfg["crop_pct"] == 0.8


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "architecture"),
    [slow_where_large(a, name) for name, a in (("resnet18", "resnet"), ("vgg11", "vgg"), ("alexnet", "alexnet"))],
)
def test_torchvision_opens_it(name: str, architecture: str, written: Written) -> None:
    import torchvision.models

    ours, there = written("torchvision", architecture)
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=5)
    theirs.load_state_dict(torch.load(there, weights_only=True))
    size = ours.model.config.image_size[0]
    images = torch.randn(2, 3, size, size)
    close(ours.model(images), theirs.eval()(images))


def test_what_the_other_project_cannot_hold_is_said(tmp_path: Path) -> None:
    model_dir(tmp_path / "ours", "vit", **{"block.activation": "gelu_tanh"})
    with pytest.raises(CheckpointError, match=r"does not support block\.activation: 'gelu_tanh' would become 'gelu'"):
        convert(tmp_path / "ours", tmp_path / "m.pth", "torchvision")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours"]
    convert(tmp_path / "ours", tmp_path / "hf", "huggingface")
    assert json.loads((tmp_path / "hf/config.json").read_text())["hidden_act"] == "gelu_new"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model_dir(tmp_path / "ours", "hybrid")
    ours, there = str(tmp_path / "ours"), str(tmp_path / "there")
    assert main(["convert", ours, there, "--to", "huggingface"]) == 1
    assert "huggingface has no hybrid; it has vit" in capsys.readouterr().err
    assert main(["convert", ours, there, "--to", "timm"]) == 0
    assert "read back and compared" in capsys.readouterr().out
    assert main(["convert", ours, there, "--to", "timm"]) == 2
    assert main(["convert", ours, str(tmp_path / "m"), "--to", "elsewhere"]) == 2
    assert main(["convert", there, str(tmp_path / "again"), "--to", "saccade"]) == 0
    with pytest.raises(ConfigError, match=r"ends in \.pth"):
        convert(ours, tmp_path / "folder", "torchvision")


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_loading_says_what_became_of_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model_dir(tmp_path / "ours", "vit")
    convert(tmp_path / "ours", tmp_path / "hf", "huggingface")
    capsys.readouterr()
    saccade.load(tmp_path / "ours")
    assert capsys.readouterr().err == ""
    saccade.load(tmp_path / "hf", image_size=64, num_classes=3)
    errors = capsys.readouterr().err
    assert "Hugging Face ViT" in errors
    assert "resized encoder.pos_embed.table: 2 x 2 -> 4 x 4" in errors
    assert "new     head.weight, head.bias" in errors


def test_a_clip_there(tmp_path: Path) -> None:
    """Hugging Face's own code computes the same from what was written, its words included."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    tokenizer = Tokenizer.train(["a cat", "a dog on a mat"] * 5, 560, 12)
    ours = model_dir(tmp_path / "ours", "clip", **{"text.vocab_size": tokenizer.vocab_size})
    ours.vocabulary, ours.task = tokenizer.files(), "contrastive"
    save_model_dir(tmp_path / "ours", ours)
    convert(tmp_path / "ours", tmp_path / "there", "huggingface")
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "there").eval()
    images, texts = torch.randn(2, 3, 64, 64), ["a cat", "a dog"]
    read = transformers.CLIPTokenizer.from_pretrained(tmp_path / "there")(texts, padding="max_length", max_length=12)
    tokens = tokenizer(texts)
    ends = tokens.argmax(1)
    for row, (ids, end) in enumerate(zip(read["input_ids"], ends)):
        assert ids[: end + 1] == tokens[row, : end + 1].tolist()
    with torch.no_grad():
        expected = theirs(pixel_values=images, input_ids=tokens).logits_per_image
        torch.testing.assert_close(ours.model(images, tokens).logits, expected, atol=1e-4, rtol=1e-4)
    assert load_model(tmp_path / "there").vocabulary.keys() == {"vocab.json", "merges.txt"}


def test_a_clip_with_another_tower_has_no_place(tmp_path: Path) -> None:
    net = saccade.create("clip_small").eval()
    loaded = LoadedModel(net, "clip", (), Preprocessing((64, 64)), "contrastive")
    save_model_dir(tmp_path / "ours", loaded)
    for target, name in (("huggingface", "there"), ("openai", "there.pth")):
        with pytest.raises(CheckpointError, match="has resnet"):
            convert(tmp_path / "ours", tmp_path / name, target)
