"""The layers of a DPT whose tokens its decoder reads."""

from torch import nn

from saccade.data.samples import Batch
from saccade.engine.attention_groups import AttentionGroup, Axis
from saccade.models.dpt import DPT
from saccade.models.hybrid import HybridViT


def tapped_groups(model: nn.Module, batch: Batch) -> list[AttentionGroup]:
    """The attention among the patches of the images of a batch, with its taps; none of another model than a DPT."""
    if not isinstance(model, DPT):
        return []
    layout = model.token_layout((batch.inputs.shape[-2], batch.inputs.shape[-1]))
    prefix = tuple("CLS" if i == 0 else f"REG {i}" for i in range(layout.num_prefix))
    patches = Axis("patches", prefix, layout)
    encoder = "backbone.vit.encoder" if isinstance(model.backbone, HybridViT) else "backbone.encoder"
    taps = tuple(f"{encoder}.blocks.{block}.attn" for block in model.config.taps)
    return [AttentionGroup("self", "patches", (f"{encoder}.*",), patches, patches, taps)]
