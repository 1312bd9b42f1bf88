"""Perceiver: passes, shared and separate blocks, grids of queries, linear memory, where the class looked."""

import numpy as np
import pytest
import torch

import saccade
from saccade.analysis.attention_maps import explain
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.engine.images import fresh_preprocessing
from saccade.models.perceiver import LatentsConfig
from saccade.nn.transformer import BlockConfig

SMALL = {"latents.block.embed_dim": 16, "latents.block.mlp_dim": 16, "latents.count": 4, "latents.value_dim": 16}


def small(**options):
    torch.manual_seed(0)
    return saccade.create("perceiver_digits", options={**SMALL, **options}).eval()


@pytest.mark.parametrize(("name", "official", "width"), [
    ("fourier", "Fourier", 261), ("learned", "Learned", 512), ("conv", "ConvProcessing", 322),
])  # fmt: skip
def test_deepminds_have_their_size(name: str, official: str, width: int) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.PerceiverConfig(
        num_latents=512, d_latents=1024, d_model=width, num_blocks=8, num_self_attends_per_block=6,
        num_cross_attention_heads=1, image_size=224, num_labels=1000,
    )  # fmt: skip
    with torch.device("meta"):
        theirs = getattr(transformers, f"PerceiverForImageClassification{official}")(config)
        ours = saccade.create(f"perceiver_{name}")
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_passes_share_their_blocks_or_do_not() -> None:
    def size(**options) -> int:
        return sum(p.numel() for p in small(**options).latents.parameters())

    one = size(**{"latents.passes": 1, "latents.reads": 1})
    assert size(**{"latents.passes": 3, "latents.reads": 3}) == one
    apart = {"latents.passes": 3, "latents.reads": 3, "latents.shared": False}
    latents = 4 * 16
    assert size(**apart) == latents + 3 * (one - latents)
    with pytest.raises(ValueError, match="1 to 2 passes"):
        LatentsConfig(BlockConfig(16, 4, 16), 4, 1, passes=2, reads=3)


def test_a_grid_of_queries_answers_for_every_pixel() -> None:
    net = small(output="grid", num_classes=3)
    with torch.no_grad():
        assert net(torch.randn(2, 1, 8, 8)).shape == (2, 3, 8, 8)
        assert net(torch.randn(1, 1, 6, 11)).shape == (1, 3, 6, 11)


def test_inputs_may_come_in_any_order() -> None:
    """Positions are features of the inputs: nothing else tells where they lie."""
    net = small()
    inputs, grid = net.inputs(torch.randn(1, 1, 8, 8))
    assert grid == (8, 8)
    mixed = inputs[:, torch.randperm(64)]
    with torch.no_grad():
        torch.testing.assert_close(net.decode(mixed), net.decode(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reading", ["pixels", "conv1x1", "conv"])
def test_attention_is_recorded_over_the_inputs(reading: str) -> None:
    net = small(reading=reading, image_size=(16, 24), width=8)
    with saccade.record(net) as trace, torch.no_grad():
        net(torch.randn(1, 1, 16, 24))
    assert trace.layout is not None
    assert trace.layout.grid == ((16, 24) if reading != "conv" else (3, 5))
    reads = {path: w for path, w in trace.attention.items() if ".read." in path}
    assert reads
    assert all(w.shape[-1] == trace.layout.num_tokens for w in reads.values())
    assert "decoder.attn" in trace.attention


def test_where_the_class_looked(tmp_path, capsys) -> None:
    net = small()
    loaded = LoadedModel(net, "perceiver", tuple("0123456789"), fresh_preprocessing(net))
    save_model_dir(tmp_path / "model", loaded)
    predictor = saccade.load(tmp_path / "model")
    image = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    found = explain(predictor, image)
    assert found.rollout.shape == (8, 8)
    assert found.rollout.sum() == pytest.approx(1.0, abs=1e-5)
    assert found.heads.shape == (1, 8, 8)
    inputs = predictor.prepare(image)[None]
    with saccade.record(net) as trace, torch.no_grad():
        net(inputs)
    asked = trace.attention["decoder.attn"].mean(1)  # the class's query over latents
    read = [w for path, w in trace.attention.items() if ".read." in path][-1].mean(1)  # latents over pixels
    np.testing.assert_allclose(found.rollout, (asked @ read)[0, 0].view(8, 8).numpy(), atol=1e-5)
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "a.png")
    assert main(["explain", str(tmp_path / "model"), str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png")]) == 0


def test_every_pixel_of_a_photograph_in_bounded_memory() -> None:
    """50,176 inputs: global attention among them would need 10 GB for one head's weights."""
    net = saccade.create("perceiver_digits", in_channels=3, image_size=224, options={"bands": 16}).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, 224, 224)).shape == (1, 10)
