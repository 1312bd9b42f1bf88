"""ViT checkpoints of every publisher against their official code, on the same weights and images."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import saccade
from saccade.checkpoints.formats import google_vit, huggingface_vit, timm_vit, torchvision_vit
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.mapping import to_ours, to_theirs
from saccade.checkpoints.reading import read_tensors
from saccade.errors import CheckpointError

PLAIN_VIT = 1e-5  # of the output's scale
CONFORMANCE = Path(__file__).parents[1] / "conformance"
SHARED = Path(os.environ.get("SACCADE_SHARED", "/nonexistent"))


def assert_equal_outputs(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= PLAIN_VIT * theirs.abs().max()


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter random, norms too, so that nothing that is 0 or 1 at the start hides a mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.3 if parameter.ndim == 1 else 0.03))
    return model.eval()


TIMM = {
    "plain": {},
    "registers": {"reg_tokens": 4},
    "registers without positions": {"reg_tokens": 4, "no_embed_class": True},
    "deit3": {"no_embed_class": True, "init_values": 1e-4},
    "mean pooling": {"global_pool": "avg"},
    "mean pooling without class token": {"global_pool": "avg", "class_token": False},
    "clip": {"pre_norm": True, "norm_layer": torch.nn.LayerNorm},  # eps 1e-5, as the published towers
    "no qkv bias": {"qkv_bias": False},
    "not square": {"img_size": (32, 64)},
    "five channels": {"in_chans": 5},
    "wide patches": {"patch_size": (8, 16), "img_size": (32, 64)},
}


@pytest.mark.parametrize("variant", TIMM)
def test_timm(variant: str, tmp_path: Path) -> None:
    vit = pytest.importorskip("timm.models.vision_transformer")
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 7}
    model = randomised(vit.VisionTransformer(**{**options, **TIMM[variant]}))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    size = model.patch_embed.img_size
    loaded = load_model(tmp_path / "model.safetensors", image_size=tuple(size), options={"block.num_heads": 4})
    images = torch.randn(2, model.patch_embed.proj.in_channels, *size)
    with torch.no_grad():
        assert_equal_outputs(loaded.model(images), model(images))
        hidden = model.forward_intermediates(images, norm=False, output_fmt="NLC", intermediates_only=True)
    taps = loaded.model.encoder(images, taps=range(2)).taps
    for ours, theirs in zip(taps, hidden):
        assert_equal_outputs(ours[:, loaded.model.config.num_prefix :], theirs)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", pytest.param("deit3_small_patch16_224", marks=pytest.mark.slow)]
)
def test_timm_at_a_published_size(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = randomised(timm.create_model(name))
    torch.save({"model": model.state_dict()}, tmp_path / f"{name}.pth")
    loaded = load_model(tmp_path / f"{name}.pth")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert_equal_outputs(loaded.model(images), model(images))
    assert len(loaded.labels) == 1000
    assert loaded.labels[0] == "tench"


def test_timm_resizes_positions_as_timm_does(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = randomised(timm.create_model("vit_tiny_patch16_224", depth=2))
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", image_size=(160, 256))
    model.set_input_size((160, 256))
    images = torch.randn(1, 3, 160, 256)
    with torch.no_grad():
        assert_equal_outputs(loaded.model(images), model(images))
    assert "14 x 14 -> 10 x 16" in str(loaded.report)


@pytest.mark.parametrize("options", [{}, {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}, {"qkv_bias": False}])
def test_hugging_face(options: dict, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=80, image_size=32, patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "fish"}, label2id={"cat": 0, "dog": 1, "fish": 2},
        attn_implementation="eager", **options,
    )  # fmt: skip
    model = randomised(transformers.ViTForImageClassification(config))
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    predictor = saccade.load(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), saccade.record(predictor.model) as trace:
        theirs = model(images, output_attentions=True, output_hidden_states=True)
        ours = predictor.model(images)
    assert_equal_outputs(ours, theirs.logits)
    for weights, expected in zip(trace.attention.values(), theirs.attentions):
        assert_equal_outputs(weights, expected)
    for tokens, expected in zip(trace.tokens.values(), theirs.hidden_states[1:]):
        assert_equal_outputs(tokens, expected)
    assert predictor.labels == ("cat", "dog", "fish")
    assert (predictor.preprocess.size, predictor.preprocess.resize) == ((32, 32), "exact")


def test_hugging_face_at_a_published_size(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=10)
    model = randomised(transformers.ViTForImageClassification(config))
    model.save_pretrained(tmp_path, max_shard_size="5MB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert_equal_outputs(saccade.load(tmp_path).model(images), model(images).logits)


@pytest.mark.parametrize("representation", [None, 24])
def test_torchvision(representation: int | None, tmp_path: Path) -> None:
    from torchvision.models import VisionTransformer

    model = randomised(VisionTransformer(32, 8, 2, 2, 128, 96, num_classes=5, representation_size=representation))
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    loaded = load_model(tmp_path / "vit.pth")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert_equal_outputs(loaded.model(images), model(images))


@pytest.mark.parametrize("case", ["google_vit", "google_vit_pre_logits"])
def test_google(case: str) -> None:
    predictor = saccade.load(CONFORMANCE / f"{case}.npz")
    stored = np.load(CONFORMANCE / f"{case}.io.npz")
    images = torch.from_numpy(stored["images_nhwc"]).permute(0, 3, 1, 2)
    assert_equal_outputs(predictor.run(images), torch.from_numpy(stored["logits"]))
    assert predictor.preprocess.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("publisher", [timm_vit, huggingface_vit, torchvision_vit, google_vit])
def test_a_round_trip_is_the_same_bits(publisher) -> None:
    """Ours -> theirs -> ours, for every option that the format can hold."""
    net = saccade.create("vit_ti16", num_classes=5, image_size=32, options={"depth": 2, "pre_logits": 16})
    if publisher is huggingface_vit:
        net = saccade.create("vit_ti16", num_classes=5, image_size=32, options={"depth": 2})
    rules = publisher.rules(net.config)
    theirs = to_theirs(net.state_dict(), rules)
    assert publisher.matches(set(theirs))
    back, unused = to_ours(theirs, rules)
    assert not unused
    assert back.keys() == net.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in net.state_dict().items())


def test_what_has_no_place_is_refused_and_listed(tmp_path: Path) -> None:
    net = saccade.create("vit_ti16", num_classes=5, image_size=32, options={"depth": 2})
    tensors = to_theirs(net.state_dict(), timm_vit.rules(net.config))
    tensors["blocks.0.attn.q_norm.weight"] = torch.ones(64)
    del tensors["norm.bias"]
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)q_norm.*encoder\.norm\.bias"):
        load_model(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", strict=False)
    assert loaded.report.new == ["encoder.norm.bias"]
    assert loaded.report.unused == ["blocks.0.attn.q_norm.weight"]


def test_what_a_file_cannot_tell_is_asked_for(tmp_path: Path) -> None:
    vit = pytest.importorskip("timm.models.vision_transformer")
    model = vit.VisionTransformer(img_size=(32, 64), patch_size=8, embed_dim=48, depth=1, num_heads=4, num_classes=3)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="square"):
        load_model(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="number of heads"):
        load_model(tmp_path / "m.safetensors", image_size=(32, 64))
    (tmp_path / "config.json").write_text(json.dumps({"model_args": {"num_heads": 4}}))
    assert load_model(tmp_path / "m.safetensors", image_size=(32, 64)).model.config.block.num_heads == 4


def test_an_unknown_layout_shows_some_names(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"no known format.*stem\.weight"):
        load_model(tmp_path / "m.safetensors")


def test_timms_config_beside_the_file_sets_preprocessing(tmp_path: Path) -> None:
    net = saccade.create("vit_ti16", num_classes=2, image_size=32, options={"depth": 1})
    save_file(to_theirs(net.state_dict(), timm_vit.rules(net.config)), tmp_path / "model.safetensors")
    told = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "crop_pct": 0.95, "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": told, "label_names": ["a", "b"]}))
    loaded = load_model(tmp_path)
    assert loaded.preprocessing is not None
    assert (loaded.preprocessing.mean, loaded.preprocessing.crop_pct) == ((0.1, 0.2, 0.3), 0.95)
    assert loaded.labels == ("a", "b")


@pytest.mark.skipif(not SHARED.is_dir(), reason="set SACCADE_SHARED to the folder with weights and photographs")
def test_the_real_deit_tiny_says_of_photographs_what_timm_says() -> None:
    import csv

    import timm
    from PIL import Image
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform

    official = timm.create_model("deit_tiny_patch16_224").eval()
    official.load_state_dict(read_tensors(SHARED / "weights/deit_tiny_patch16_224.pth").tensors)
    transform = create_transform(
        224, is_training=False, interpolation="bicubic", crop_pct=0.875, mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
    )  # fmt: skip
    predictor = saccade.load(SHARED / "weights/deit_tiny_patch16_224.pth")
    folder = SHARED / "data/imagenet_sample"
    rows = list(csv.reader((folder / "labels.csv").read_text().splitlines()))[1:]
    found = predictor.predict([folder / row[0] for row in rows])
    right = sum(p.label == predictor.labels[int(row[1])] for p, row in zip(found, rows))
    assert right == 160
    with torch.no_grad():
        for prediction, row in list(zip(found, rows))[::4]:
            picture = transform(Image.open(folder / row[0]).convert("RGB"))
            assert prediction.label == predictor.labels[int(official(picture[None]).argmax())]
