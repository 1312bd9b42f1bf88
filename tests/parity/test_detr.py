"""DETR against Meta's stored outputs and Hugging Face's live models: boxes, classes, masks, padded batches."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import saccade
from saccade.checkpoints.loading import load_model
from saccade.models.detr import DETR
from tests.parity.cases import randomised

CONFORMANCE = Path(os.environ.get("SACCADE_SHARED", "")) / "conformance" / "facebook_detr.pth"
SMALL = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 8, "decoder_attention_heads": 8,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 7, "use_pretrained_backbone": False, "num_labels": 4,
}  # fmt: skip
OWN_BACKBONE = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 2, 1, 1],
    "layer_type": "bottleneck", "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4 * max(1.0, theirs.abs().max().item()), rtol=0)


@pytest.mark.parametrize(("name", "params"), [("detr_r50", 41_524_768), ("detr_r101", 60_464_672)])
def test_parameters_equal_the_published(name: str, params: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in saccade.create(name).parameters()) == params


@pytest.mark.skipif(not CONFORMANCE.is_file(), reason="needs SACCADE_SHARED")
def test_metas_outputs() -> None:
    net = load_model(CONFORMANCE).model
    io = load_file(CONFORMANCE.with_name("facebook_detr.io.safetensors"))
    with torch.no_grad():
        found = net([io["image_0"], io["image_1"]])
    close(found.logits, io["pred_logits"])
    close(found.boxes, io["pred_boxes"])
    close(found.aux[0].logits, io["aux_0_logits"])
    close(found.aux[0].boxes, io["aux_0_boxes"])


# A detector with timm's backbone writes 57 MB, so all but one of them are slow. Hugging Face's own has no dilation.
COMBINATIONS = [
    ("timm", "masks", "dilated"),
    ("own", "boxes", "sine"), ("own", "masks", "sine"), ("own", "boxes", "learned"), ("own", "masks", "learned"),
    *(pytest.param("timm", *rest, marks=pytest.mark.slow) for rest in (
        ("boxes", "sine"), ("boxes", "learned"), ("boxes", "dilated"), ("masks", "sine"), ("masks", "learned"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("backbone", "head", "variant"), COMBINATIONS)
def test_hugging_face(backbone: str, head: str, variant: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    masks = head == "masks"
    settings = {**SMALL, "position_embedding_type": "learned" if variant == "learned" else "sine"}
    if backbone == "timm":
        pytest.importorskip("timm")
        settings |= {"use_timm_backbone": True, "backbone": "resnet26", "dilation": variant == "dilated"}
    else:
        settings |= {"use_timm_backbone": False, "backbone": None, "backbone_config": OWN_BACKBONE}
    kind = transformers.DetrForSegmentation if masks else transformers.DetrForObjectDetection
    torch.manual_seed(0)
    official = randomised(kind(transformers.DetrConfig(**settings)))
    official.save_pretrained(tmp_path)
    net = load_model(tmp_path).model
    assert isinstance(net, DETR)
    assert net.config.backbone_config.dilated == (variant == "dilated")
    images, valid = torch.randn(2, 3, 64, 96), torch.ones(2, 64, 96, dtype=torch.bool)
    valid[1, 40:], valid[1, :, 64:] = False, False
    images = images * valid[:, None]
    with torch.no_grad():
        theirs = official.eval()(pixel_values=images, pixel_mask=valid.long())
        ours = net(images, valid)
    close(ours.logits, theirs.logits)
    close(ours.boxes, theirs.pred_boxes)
    if masks:
        close(ours.masks, theirs.pred_masks)
    assert theirs.logits.std() > 0.01


def test_an_image_alone_and_in_a_padded_batch_gives_the_same_boxes() -> None:
    net = saccade.create("detr_small").eval()
    sizes = [(128, 96), (100, 128), (64, 70), (128, 96)]
    images = [torch.randn(3, *size) for size in sizes]
    with torch.no_grad():
        together = net(images)
        for row, image in enumerate(images):
            alone = net([image])
            torch.testing.assert_close(together.boxes[row], alone.boxes[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("use", ["none", "input", "decoder", "attention"])
def test_positions_are_added_where_the_config_says(use: str) -> None:
    options = {"position_use": use, "encoder_depth": 1, "decoder_depth": 2}
    net = saccade.create("detr_small", image_size=64, options=options).eval()
    image = torch.randn(1, 3, 64, 64)
    told: dict[str, dict] = {}
    for name, block in (("encoder", net.encoder[0]), ("decoder", net.decoder[0])):
        block.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: told.update({name: kwargs}), with_kwargs=True
        )
    with torch.no_grad():
        found = net(image)
    assert (told["encoder"]["pos"] is not None) == (use == "attention")
    assert (told["decoder"]["memory_pos"] is not None) == (use in ("decoder", "attention"))
    assert len(found.aux) == 1


def test_any_backbone_stands_under_it() -> None:
    from saccade.models.detr import DETRConfig
    from saccade.models.zoo import config_of
    from saccade.nn.transformer import BlockConfig

    block = BlockConfig(32, 4, 64, norm="post", activation="relu")
    for name, options in (("vit_lite7_4", {"depth": 1}), ("convnext_t", {"depths": [1, 1], "widths": [8, 16]})):
        backbone = config_of(name, num_classes=0, image_size=32, options=options)
        architecture = "vit" if name.startswith("vit") else "convnext"
        net = DETR(DETRConfig(block, backbone, architecture, encoder_depth=1, decoder_depth=1, num_queries=3))
        assert net(torch.randn(2, 3, 32, 32)).boxes.shape == (2, 3, 4)
        again = DETR(DETRConfig.from_dict(net.config.to_dict()))
        again.load_state_dict(net.state_dict())
