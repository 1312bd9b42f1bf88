"""DPT against its authors' stored outputs and Hugging Face's live models: depth, segmentation, hybrid, any size."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import saccade
from saccade.checkpoints.loading import load_model
from saccade.errors import CheckpointError, ConfigError
from saccade.models.dpt import DPT
from tests.parity.cases import randomised

CONFORMANCE = Path(os.environ.get("SACCADE_SHARED", "")) / "conformance" / "isl_dpt_depth.pth"
STORED = Path(__file__).parents[1] / "conformance"
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 64,
    "patch_size": 16, "backbone_out_indices": [0, 2, 3, 4], "neck_hidden_sizes": [16, 24, 32, 48],
    "fusion_hidden_size": 32,
}  # fmt: skip


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4 * max(theirs.abs().max().item(), 1e-3), rtol=0)


@pytest.mark.parametrize(("name", "params"), [("dpt_l", 343_030_465)])
def test_parameters_equal_the_published(name: str, params: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in saccade.create(name).parameters()) == params


def test_the_authors_outputs() -> None:
    net = load_model(STORED / "isl_dpt_depth.pth").model
    io = load_file(STORED / "isl_dpt_depth.io.safetensors")
    with torch.no_grad():
        close(net(io["images"]).values, io["output"])


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (80, 80)])
@pytest.mark.parametrize("readout", ["project", "add", "ignore"])
def test_hugging_face_depth(readout: str, size: tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    official = randomised(transformers.DPTForDepthEstimation(transformers.DPTConfig(**SMALL, readout_type=readout)))
    # The random head says nothing but 0 where its last bias is too low.
    official.head.head[4].bias.data.fill_(0.5)
    official.save_pretrained(tmp_path)
    net = load_model(tmp_path).model
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        theirs = official.eval()(images).predicted_depth
        if theirs.shape[-2:] != size:  # five patches a side: theirs comes larger than the image
            theirs = torch.nn.functional.interpolate(theirs[:, None], size=size, mode="bilinear")[:, 0]
        close(net(images).values, theirs)
    assert theirs.std() > 0


@pytest.mark.parametrize("hybrid", [False, True], ids=["vit", "hybrid"])
@pytest.mark.parametrize("segments", [False, True], ids=["depth", "segmentation"])
def test_hugging_face_variants(hybrid: bool, segments: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = {**SMALL, "num_labels": 5, "use_batch_norm_in_fusion_residual": segments}
    if hybrid:
        bit = {
            "model_type": "bit", "embedding_dynamic_padding": True, "global_padding": "same", "depths": [1, 1, 1],
            "hidden_sizes": [256, 512, 1024], "out_features": ["stage1", "stage2", "stage3"], "num_groups": 32,
            "layer_type": "bottleneck",
        }  # fmt: skip
        settings |= {
            "is_hybrid": True, "backbone_config": bit, "backbone_out_indices": [0, 1, 2, 4],
            "neck_hidden_sizes": [256, 512, 32, 48], "backbone_featmap_shape": [1, 1024, 4, 4],
        }  # fmt: skip
    kind = transformers.DPTForSemanticSegmentation if segments else transformers.DPTForDepthEstimation
    official = randomised(kind(transformers.DPTConfig(**settings)))
    if not segments:
        official.head.head[4].bias.data.fill_(0.5)
    official.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    net = loaded.model
    assert isinstance(net, DPT)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs = official.eval()(images)
        ours = net(images).values
    if segments:
        close(ours, torch.nn.functional.interpolate(theirs.logits, size=(64, 64), mode="bilinear"))
        assert len(loaded.labels) == 5
    else:
        close(ours, theirs.predicted_depth)


def test_any_size_and_what_does_not_fit() -> None:
    net = saccade.create("dpt_small_seg", num_classes=4).eval()
    for size in ((128, 128), (80, 112), (16, 48)):
        assert net(torch.randn(1, 3, *size)).values.shape == (1, 4, *size)
    assert net(torch.randn(2, 3, 64, 64), auxiliary=True).aux.shape == (2, 4, 16, 16)
    assert net.train()(torch.randn(2, 3, 64, 64)).aux is None
    assert [m.stride for m in net.features(torch.randn(1, 3, 64, 64))] == [(4, 4), (8, 8), (16, 16), (32, 32)]
    with pytest.raises(ConfigError, match="no classes"):
        saccade.create("dpt_small", num_classes=3)
    with pytest.raises(ConfigError, match="4 of the maps"):
        saccade.create("dpt_small", options={"taps": (1, 2)})


def test_taps_that_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from saccade.checkpoints.formats import isl_dpt
    from saccade.checkpoints.mapping import to_theirs

    net = saccade.create("dpt_small", options={"backbone_config.block.num_heads": 2})
    theirs = to_theirs(net.state_dict(), isl_dpt.rules(net.config))
    save_file(theirs, tmp_path / "model.safetensors")
    options = {"backbone_config.block.num_heads": 2}
    with pytest.raises(CheckpointError, match="taps"):
        load_model(tmp_path / "model.safetensors", options=options)
    again = load_model(tmp_path / "model.safetensors", options={**options, "taps": (0, 1, 2, 3)}).model
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images).values, net.eval()(images).values)
