"""The ViT inside a model that was pre-trained without labels."""

from dataclasses import replace

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import adapt
from saccade.checkpoints.mapping import MappingReport, place
from saccade.errors import CheckpointError
from saccade.models.vit import VisionTransformer

PRETRAINED = ("mae", "masked_vit")  # architectures whose encoder is a ViT's


def is_pretrained(loaded: LoadedModel) -> bool:
    """Whether it has an encoder to start from, and no classes of its own."""
    return loaded.architecture in PRETRAINED


def as_classifier(loaded: LoadedModel) -> LoadedModel:
    """Its encoder as a ViT without a head, which reads the mean of the patches behind a fresh norm (He et al., arXiv
    2111.06377, appendix A.2); what painted the hidden patches is left behind."""
    config = replace(loaded.model.config.vit, pooling="mean", pool_norm=True)
    model = VisionTransformer(config)
    wanted = model.state_dict()
    tensors = {name: tensor for name, tensor in loaded.model.state_dict().items() if name in wanted}
    report = MappingReport(format=loaded.report.format, notes=["the encoder of a pre-trained model"])
    place(model, tensors, report, fresh=("fc_norm.weight", "fc_norm.bias"))
    return replace(loaded, model=model.eval(), architecture="vit", task="classification", report=report)


def with_backbone(start: LoadedModel, trained: LoadedModel) -> LoadedModel:
    """A fresh DPT whose ViT has the weights of a trained one; its images are then prepared as those of that one.

    Raises:
        CheckpointError: the trained model is no ViT, or one of another shape.
    """
    if is_pretrained(trained):
        trained = as_classifier(trained)
    config, theirs = start.model.config, trained.model.config
    if trained.architecture != config.backbone or trained.preprocessing is None or start.preprocessing is None:
        raise CheckpointError(f"a {trained.architecture} cannot stand in a DPT on a {config.backbone}")
    if (theirs.block.embed_dim, theirs.depth, theirs.patch_size) != (
        config.backbone_config.block.embed_dim, config.backbone_config.depth, config.backbone_config.patch_size,
    ):  # fmt: skip
        raise CheckpointError("the trained ViT is of another width, depth or patch size than the DPT's")
    trained = adapt(adapt(trained, num_classes=0), image_size=config.image_size)
    wanted = start.model.state_dict()
    tensors = {name: tensor for name, tensor in wanted.items() if not name.startswith("backbone.")}
    tensors |= {f"backbone.{n}": t for n, t in trained.model.state_dict().items() if f"backbone.{n}" in wanted}
    report = MappingReport(format=trained.report.format, notes=["a trained ViT in a fresh DPT"])
    rest = [name for name in wanted if name not in tensors]
    place(start.model, tensors, report, fresh=rest)
    told = trained.preprocessing
    assert told is not None
    preprocessing = replace(start.preprocessing, mean=told.mean, std=told.std, value_range=told.value_range)
    return replace(start, preprocessing=preprocessing, provenance=trained.provenance, report=report)
