"""Every architecture in every format that publishes it, against its official code."""

from pathlib import Path
from typing import Any

import pytest
import torch

import saccade
from saccade.checkpoints.formats import FORMATS
from saccade.checkpoints.loading import load_model
from tests.parity.cases import CASES, HUGGING, SMALL_VIT, Case, randomised

# Published sizes that write 20 to 550 MB each.
LARGE = {
    "timm_vit": {"Ti/16", "DeiT-Ti/16"}, "huggingface_vit": {"Ti/16"}, "torchvision_vit": {"B/32"},
    "timm_deit": {"Ti/16"}, "huggingface_deit": {"Ti/16"}, "huggingface_dinov2": {"S/14"},
    "timm_hybrid": {"R26+S/32", "R+Ti/16"}, "huggingface_hybrid": {"R50+Ti/16"},
    "facebook_mae": {"Ti/16"}, "huggingface_mae": {"Ti/16"},
    "torchvision_resnet": {"18", "50", "wide 50-2", "50, timm"}, "huggingface_resnet": {"18", "bottlenecks"},
    "torchvision_alexnet": {"AlexNet"}, "torchvision_vgg": {"11", "16, batch norm"}, "timm_vgg": {"11"},
    "torchvision_convnext": {"T"}, "timm_convnext": {"T"}, "huggingface_convnext": {"T"},
    "timm_convmixer": {"768/32"}, "timm_bit": {"R50x1"}, "huggingface_bit": {"R50x1"},
}  # fmt: skip


def parameter(case: Case) -> Any:
    marks = [pytest.mark.slow] if case.name in LARGE.get(case.format, ()) else []
    marks += [pytest.mark.long] if (case.format, case.name) == ("torchvision_vgg", "16, batch norm") else []
    return pytest.param(case, id=f"{case.format}: {case.name}", marks=marks)


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_outputs_equal_the_official_ones(case: Case, tmp_path: Path) -> None:
    assert case.difference(tmp_path) <= case.tolerance


def test_no_format_is_left_out() -> None:
    """Google's, Meta's DETR and DINOv2 and isl-org's DPT have no code in a package: see `test_google.py`,
    `test_detr.py`, `test_other_sizes.py`, `test_dpt.py`. All formats of DINOv3 are in `test_dinov3.py`, those of
    Depth Anything in `test_depth_anything.py`. CLIP and BERT
    are not called with images alone: `test_clip.py`, `test_bert.py`, and Marian's translators and Perceivers of texts
    neither: `test_seq2seq.py`, `test_perceiver_text.py`. SigLIP is in `test_siglip.py`."""
    named = {f.__name__.rsplit(".", 1)[1] for f in FORMATS}
    assert named == {c.format for c in CASES} | {
        "google_vit",
        "google_hybrid",
        "google_bit",
        "facebook_detr",
        "facebook_dino",
        "facebook_dinov3",
        "facebook_convnext",
        "depthanything",
        "huggingface_depth_anything",
        "huggingface_dinov3",
        "huggingface_dinov3_convnext",
        "timm_dinov3",
        "isl_dpt",
        "openai_clip",
        "huggingface_clip",
        "huggingface_siglip",
        "open_clip_siglip",
        "huggingface_bert",
        "huggingface_marian",
        "huggingface_perceiver_text",
    }


@torch.no_grad()
@pytest.mark.parametrize("name", HUGGING)
def test_hidden_states_and_attention_weights(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, config = HUGGING[name]
    settings = getattr(transformers, config)(**SMALL_VIT, attn_implementation="eager")
    official = randomised(getattr(transformers, model)(settings))
    official.save_pretrained(tmp_path)
    net = load_model(tmp_path).model
    images = torch.randn(2, 3, 32, 32)
    theirs = official(images, output_attentions=True, output_hidden_states=True)
    with saccade.record(net) as trace:
        net(images)
    for weights, expected in zip(trace.attention.values(), theirs.attentions, strict=True):
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)
    for tokens, expected in zip(trace.tokens.values(), theirs.hidden_states[1:], strict=True):
        assert (tokens - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("name", ["convnext", "resnet"])
def test_feature_maps_of_convolutional_networks(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    title = {"convnext": "ConvNext", "resnet": "ResNet"}[name]
    options = {
        "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
        "resnet": {"embedding_size": 8, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 1, 2, 1]},
    }
    settings = getattr(transformers, f"{title}Config")(**options[name])
    official = randomised(getattr(transformers, f"{title}ForImageClassification")(settings))
    official.save_pretrained(tmp_path)
    images = torch.randn(1, 3, 64, 96)
    theirs = official(images, output_hidden_states=True).hidden_states[1:]
    for found, expected in zip(load_model(tmp_path).model.features(images), theirs, strict=True):
        assert (found.features - expected).abs().max() <= 1e-4 * expected.abs().max()


RESIZED = [c for c in CASES if c.name == "small" and c.architecture in ("deit", "hybrid", "mae") and "timm" in c.format]


@pytest.mark.parametrize("case", RESIZED, ids=[c.format for c in RESIZED])
def test_another_size_and_another_head(case: Case, tmp_path: Path) -> None:
    path = case.save(case.build(), tmp_path)
    height, width = case.size
    loaded = load_model(path, image_size=(2 * height, width), num_classes=3, options=case.options)
    assert tuple(loaded.model(torch.randn(1, 3, 2 * height, width)).shape) == (1, 3)
    assert set(loaded.report.new) == set(loaded.model.head_names)
    assert set(loaded.report.resized) == set(loaded.model.position_names)
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.size == (2 * height, width)


def test_a_published_masked_autoencoder_is_resized_and_reconstructs(tmp_path: Path) -> None:
    case = next(c for c in CASES if c.format == "facebook_mae")
    path = case.save(case.build(), tmp_path)
    larger = load_model(path, image_size=(64, 32), options=case.options)
    assert set(larger.report.resized) == {"encoder.pos_embed.table", "decoder_pos_embed.table"}
    assert larger.model(torch.randn(1, 3, 64, 32)).pred.shape == (1, 32, 192)
    predictor = saccade.load(path)
    assert predictor.task.name == "masked_image"
    result = predictor.predict(torch.rand(3, 32, 32))
    assert result.reconstruction.shape == (32, 32, 3)
    assert result.loss > 0
