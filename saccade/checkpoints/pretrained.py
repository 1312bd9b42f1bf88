"""Transfer of trained weights to a new model: an encoder to a classifier, a backbone to a detector or a DPT."""

from dataclasses import replace
from typing import Any

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt
from saccade.checkpoints.mapping import MappingReport, place
from saccade.errors import CheckpointError
from saccade.models.backbone import WithBackbone
from saccade.models.dpt import DPTConfig
from saccade.models.vit import VisionTransformer
from saccade.models.zoo import build

PRETRAINED = ("mae", "masked_vit")  # architectures whose encoder is a ViT's


def is_pretrained(loaded: LoadedModel) -> bool:
    """Whether it is an encoder trained without labels."""
    return loaded.architecture in PRETRAINED


def as_classifier(loaded: LoadedModel) -> LoadedModel:
    """The encoder as a ViT without a head, with mean pooling and a new norm (He et al., arXiv 2111.06377, appendix
    A.2); the decoder is dropped."""
    config = replace(loaded.model.config.vit, pooling="mean", pool_norm=True)
    model = VisionTransformer(config)
    names = model.state_dict()
    tensors = {name: tensor for name, tensor in loaded.model.state_dict().items() if name in names}
    report = MappingReport(format=loaded.report.format, notes=["the encoder of a pre-trained model"])
    place(model, tensors, report, fresh=("fc_norm.weight", "fc_norm.bias"))
    return replace(loaded, model=model.eval(), architecture="vit", task="classification", task_state={}, report=report)


def backbone_of(source: LoadedModel) -> LoadedModel:
    """The backbone for a new detector or DPT: that of a trained one, an encoder trained without labels, or any other
    image model of the catalogue without its head.

    Raises:
        CheckpointError: it reads texts.
    """
    if source.model.config.image_size is None:
        raise CheckpointError(f"a {source.architecture} reads texts: no other model can be built on it")
    if is_pretrained(source):
        source = as_classifier(source)
    config = source.model.config
    if not isinstance(config, WithBackbone):
        return adapt(source, num_classes=0)
    backbone = build(config.backbone, config.backbone_config.to_dict())
    backbone.load_state_dict(source.model.get_submodule("backbone").state_dict())
    return replace(
        source, model=backbone.eval(), architecture=config.backbone, labels=(), task="classification", task_state={}
    )


def with_backbone(
    start: LoadedModel, source: LoadedModel, drop_path: float = 0.0, in_channels: int | None = None
) -> LoadedModel:
    """A new detector or DPT on a trained backbone, with the image statistics of that backbone.

    Args:
        start: the new model; its config determines everything that does not depend on the backbone.
        source: see :func:`backbone_of`.
        drop_path: stochastic depth of a ViT's last block.
        in_channels: channels of the images; None for those of the backbone.

    Raises:
        CheckpointError: the backbone does not match the DPT.
    """
    options = {"drop_path": drop_path} if drop_path else None
    backbone = adapt(
        backbone_of(source), image_size=start.model.config.image_size, in_channels=in_channels, options=options
    )
    statistics, config = backbone.preprocessing, start.model.config
    if isinstance(config, DPTConfig):
        _check_dpt(config, backbone)
    model = build(
        start.architecture,
        replace(config, backbone=backbone.architecture, backbone_config=backbone.model.config).to_dict(),
    )
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.model.state_dict().items()}
    fresh = [name for name in model.state_dict() if name not in tensors]
    note = f"a new {start.architecture} on a trained {backbone.architecture}"
    report = MappingReport(format=source.report.format, notes=[note])
    place(model, tensors, report, fresh=fresh)
    preprocessing = start.preprocessing
    if preprocessing is not None and statistics is not None:
        preprocessing = replace(
            preprocessing,
            channels=statistics.channels,
            mean=statistics.mean,
            std=statistics.std,
            value_range=statistics.value_range,
        )
    return replace(start, model=model.eval(), preprocessing=preprocessing, provenance=source.provenance, report=report)


def _check_dpt(config: Any, backbone: LoadedModel) -> None:
    backbone_config = backbone.model.config
    if backbone.architecture != config.backbone:
        raise CheckpointError(
            f"a {backbone.architecture} cannot replace the {config.backbone} of this DPT: choose another DPT, such as "
            "dpt_ti for a ViT-Ti/16"
        )
    if (backbone_config.block.embed_dim, backbone_config.depth, backbone_config.patch_size) != (
        config.backbone_config.block.embed_dim, config.backbone_config.depth, config.backbone_config.patch_size,
    ):  # fmt: skip
        raise CheckpointError("the trained ViT differs from that of the DPT in width, depth or patch size")
