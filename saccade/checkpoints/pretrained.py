"""The ViT inside a model that was pre-trained without labels."""

from dataclasses import replace

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.mapping import MappingReport, place
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
