"""Depth Anything V2 against Hugging Face's live models, relative and metric, at any size; its authors' names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.checkpoints.convert import convert
from saccade.checkpoints.formats import depthanything
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.mapping import to_theirs
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError
from saccade.models.depth_anything import DepthAnything
from tests.parity.cases import randomised

BACKBONE = {
    "hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 3, "mlp_ratio": 2, "image_size": 70,
    "patch_size": 14, "out_indices": [1, 3, 4, 5], "reshape_hidden_states": False,
}  # fmt: skip
TAPS = (0, 2, 3, 4)
KINDS: dict[str, dict[str, Any]] = {"relative": {}, "metric": {"depth_estimation_type": "metric", "max_depth": 20}}
PROCESSOR = (
    '{"image_processor_type": "DPTImageProcessor", "do_resize": true, "size": {"height": 70, "width": 70}, '
    '"keep_aspect_ratio": true, "ensure_multiple_of": 14, "resample": 3, "do_rescale": true, "do_normalize": true, '
    '"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}'
)


def official_model(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(**BACKBONE)
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=24, neck_hidden_sizes=[8, 12, 16, 20],
        fusion_hidden_size=16, **KINDS[kind],
    )  # fmt: skip
    official = randomised(transformers.DepthAnythingForDepthEstimation(config))
    official.head.conv3.bias.data.fill_(0.5)  # a random head predicts nothing but 0 where its last bias is too low
    return official.eval()


@pytest.fixture(scope="module", params=KINDS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """An official model, and the folder that it writes."""
    official, folder = official_model(request.param), tmp_path_factory.mktemp(request.param)
    official.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(PROCESSOR)
    return official, folder


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5 * theirs.abs().max().item(), rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [(70, 70), (98, 56), (28, 42)])
def test_outputs_hidden_states_and_attention(published: tuple[nn.Module, Path], size: tuple[int, int]) -> None:
    official, folder = published
    images = torch.randn(2, 3, *size)
    net = load_model(folder).model
    official.set_attn_implementation("eager")
    theirs = official(images, output_hidden_states=True, output_attentions=True)
    with saccade.record(net) as trace:
        close(net(images).values, theirs.predicted_depth)
    assert theirs.predicted_depth.std() > 0
    for tokens, expected in zip(trace.tokens.values(), theirs.hidden_states[1:], strict=True):
        close(tokens, expected)
    for weights, expected in zip(trace.attention.values(), theirs.attentions, strict=True):
        close(weights, expected)


def test_units_of_both_kinds(published: tuple[nn.Module, Path]) -> None:
    official, folder = published
    predictor = saccade.load(folder)
    metric = official.config.depth_estimation_type == "metric"
    result = predictor.predict(torch.rand(3, 60, 90))
    assert result.unit == ("m" if metric else "")
    assert result.depth.shape == (60, 90)
    assert result.depth.max() <= 20 or not metric
    processor = pytest.importorskip("transformers").AutoImageProcessor.from_pretrained(folder, use_fast=False)
    theirs = processor(images=torch.zeros(3, 60, 90, dtype=torch.uint8).numpy(), return_tensors="pt").pixel_values
    assert predictor.prepare(torch.zeros(3, 60, 90)).shape == theirs.shape[1:]


def test_the_authors_names(published: tuple[nn.Module, Path], tmp_path: Path) -> None:
    """Their file has the same tensors under other names; positions are resampled as in Meta's DINOv2."""
    official, folder = published
    loaded = load_model(folder)
    theirs = to_theirs(loaded.model.state_dict(), depthanything.rules(loaded.model.config))
    assert {"pretrained.blocks.0.attn.qkv.weight", "depth_head.scratch.refinenet4.resConfUnit1.conv1.weight",
            "depth_head.resize_layers.3.weight", "depth_head.scratch.output_conv2.2.bias"} <= set(theirs)  # fmt: skip
    torch.save({**theirs, "pretrained.mask_token": torch.zeros(1, 24)}, tmp_path / "depth.pth")
    max_depth = loaded.model.config.max_depth
    options = {"taps": TAPS, "backbone_config.block.num_heads": 3}
    again = load_model(tmp_path / "depth.pth", options=options | ({"max_depth": max_depth} if max_depth else {}))
    assert again.architecture == "depth_anything"
    assert again.task_state == loaded.task_state
    assert any("relative depth assumed" in note for note in again.report.notes) == (max_depth is None)
    images = torch.randn(1, 3, 70, 70)
    with torch.no_grad():
        assert torch.equal(again.model(images).values, loaded.model(images).values)
        close(again.model(images).values, official(images).predicted_depth)
    assert again.model.config.backbone_config.position_resampling == "bicubic-offset"
    assert again.preprocessing is not None
    assert again.preprocessing.whole_size(60, 90) == (70, 112)
    assert again.preprocessing.whole_size(600, 300) == (140, 70)


def test_it_goes_back_to_hugging_face(published: tuple[nn.Module, Path], tmp_path: Path) -> None:
    official, folder = published
    convert(folder, tmp_path / "out", "huggingface")
    back = type(official).from_pretrained(tmp_path / "out").eval()
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in official.state_dict().items()
               if not name.endswith("mask_token"))  # fmt: skip
    images = torch.randn(1, 3, 42, 70)
    with torch.no_grad():
        close(back(images).predicted_depth, official(images).predicted_depth)


@pytest.mark.parametrize(("size", "count"), [("s", 24_785_089), ("b", 97_470_785), ("l", 335_315_649)])
def test_parameters_equal_the_published(size: str, count: int) -> None:
    """Their files also have the token of DINOv2's masked training."""
    with torch.device("meta"):
        net = saccade.create(f"depth_anything_v2_{size}")
    assert sum(p.numel() for p in net.parameters()) + net.num_features == count


def test_what_does_not_fit_is_refused() -> None:
    for options in ({"readout": "project"}, {"head": "segmentation"}, {"max_depth": 0.0}, {"taps": (1, 2)}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            saccade.create("depth_anything_v2_s", options=options)


def test_the_shorter_side_covers_the_size() -> None:
    cover = Preprocessing((518, 518), "cover", 1.0, multiple=14)
    assert cover.whole_size(480, 640) == (518, 686)
    assert cover.whole_size(1080, 1920) == (518, 924)
    assert cover.fit(torch.rand(3, 30, 20)).shape == (3, 784, 518)


def test_gradients_reach_all_that_is_used_and_it_exports() -> None:
    options = {
        "backbone_config.depth": 4, "backbone_config.block.embed_dim": 24, "backbone_config.block.num_heads": 3,
        "backbone_config.block.mlp_dim": 32, "taps": (0, 1, 2, 3), "channels": (8, 8, 8, 8), "features": 16,
    }  # fmt: skip
    net = saccade.create("depth_anything_v2_s", image_size=(42, 42), options=options)
    assert isinstance(net, DepthAnything)
    net.freeze_unused()
    images = torch.randn(2, 3, 42, 42)
    net(images).values.mean().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    program = torch.export.export(net.eval(), (images,))
    with torch.no_grad():
        close(program.module()(images).values, net(images).values)
