"""What a trained model lends to a fresh one: its encoder to a classifier, its backbone to a detector or a DPT."""

from dataclasses import replace
from typing import Any

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt
from saccade.checkpoints.mapping import MappingReport, place
from saccade.errors import CheckpointError
from saccade.models.model import OnBackbone
from saccade.models.vit import VisionTransformer
from saccade.models.zoo import build

PRETRAINED = ("mae", "masked_vit")  # architectures whose encoder is a ViT's


def is_pretrained(loaded: LoadedModel) -> bool:
    """Whether it has an encoder to start from, and no classes of its own."""
    return loaded.architecture in PRETRAINED


def as_classifier(loaded: LoadedModel) -> LoadedModel:
    """Its encoder as a ViT without a head, which reads the mean of the patches behind a fresh norm (He et al., arXiv
    2111.06377, appendix A.2); the decoder is dropped."""
    config = replace(loaded.model.config.vit, pooling="mean", pool_norm=True)
    model = VisionTransformer(config)
    wanted = model.state_dict()
    tensors = {name: tensor for name, tensor in loaded.model.state_dict().items() if name in wanted}
    report = MappingReport(format=loaded.report.format, notes=["the encoder of a pre-trained model"])
    place(model, tensors, report, fresh=("fc_norm.weight", "fc_norm.bias"))
    return replace(loaded, model=model.eval(), architecture="vit", task="classification", report=report)


def backbone_of(trained: LoadedModel) -> LoadedModel:
    """What a fresh detector or DPT can stand on: the backbone of one, an encoder trained without labels, or any other
    model of the zoo without its head."""
    if is_pretrained(trained):
        trained = as_classifier(trained)
    config = trained.model.config
    if not isinstance(config, OnBackbone):
        return adapt(trained, num_classes=0)
    backbone = build(config.backbone, config.backbone_config.to_dict())
    backbone.load_state_dict(trained.model.get_submodule("backbone").state_dict())
    return replace(trained, model=backbone.eval(), architecture=config.backbone, labels=(), task="classification")


def with_backbone(start: LoadedModel, trained: LoadedModel, drop_path: float = 0.0) -> LoadedModel:
    """A fresh detector or DPT that stands on a trained backbone; its images are then prepared as those of that one.

    Args:
        start: fresh; what does not depend on the backbone stays as its config says.
        trained: see :func:`backbone_of`.
        drop_path: stochastic depth of a ViT's last block.

    Raises:
        CheckpointError: a DPT cannot stand on it.
    """
    options = {"drop_path": drop_path} if drop_path else None
    under = adapt(backbone_of(trained), image_size=start.model.config.image_size, options=options)
    told, config = under.preprocessing, start.model.config
    if start.architecture == "dpt":
        _check_dpt(config, under)
    model = build(
        start.architecture,
        replace(config, backbone=under.architecture, backbone_config=under.model.config).to_dict(),
    )
    tensors = {f"backbone.{name}": tensor for name, tensor in under.model.state_dict().items()}
    fresh = [name for name in model.state_dict() if name not in tensors]
    note = f"a trained {under.architecture} in a fresh {start.architecture}"
    report = MappingReport(format=trained.report.format, notes=[note])
    place(model, tensors, report, fresh=fresh)
    preprocessing = start.preprocessing
    if preprocessing is not None and told is not None:
        preprocessing = replace(
            preprocessing, channels=told.channels, mean=told.mean, std=told.std, value_range=told.value_range
        )
    return replace(start, model=model.eval(), preprocessing=preprocessing, provenance=trained.provenance, report=report)


def _check_dpt(config: Any, under: LoadedModel) -> None:
    theirs = under.model.config
    if under.architecture != config.backbone:
        raise CheckpointError(
            f"a {under.architecture} cannot stand in a DPT on a {config.backbone}: choose a DPT on it, such as dpt_ti "
            "for a ViT-Ti/16"
        )
    if (theirs.block.embed_dim, theirs.depth, theirs.patch_size) != (
        config.backbone_config.block.embed_dim, config.backbone_config.depth, config.backbone_config.patch_size,
    ):  # fmt: skip
        raise CheckpointError("the trained ViT is of another width, depth or patch size than the DPT's")
