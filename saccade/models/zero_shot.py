"""A CLIP model as an image classifier whose classes are text embeddings (Radford et al., arXiv 2103.00020, 3.1).

B images, K texts, E width of the common space.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.clip import CLIP
from saccade.models.model import AttentionStreams, Classifier, FeatureMap, LayerGroups, streams_below
from saccade.nn.tokens import TokenLayout


class UnitLength(nn.Module):
    """Vectors ``[..., E]`` divided by their lengths."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class CosineHead(nn.Module):
    """``[B, E]`` -> ``[B, K]``: the cosine similarities with K text embeddings, multiplied by CLIP's learned factor,
    plus its bias if it has one."""

    vectors: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, vectors: Tensor, scale: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.normalize = UnitLength()
        self.register_buffer("vectors", vectors.detach().clone())
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        logits = self.scale * self.normalize(x) @ self.vectors.T
        return logits if self.bias is None else logits + self.bias


class ZeroShotClassifier(Classifier):
    """``net(images [B, C, H, W])`` -> similarities ``[B, K]``, the :attr:`~saccade.models.clip.ClipOutput.logits`.

    The image encoder is shared with the CLIP model, not copied; of the texts only the embeddings are kept.

    Args:
        clip: the model.
        vectors: text embeddings of unit length, ``[K, E]``.
    """

    def __init__(self, clip: CLIP, vectors: Tensor):
        super().__init__()
        self.config = replace(clip.config, num_classes=len(vectors))
        self.backbone, self.image_proj = clip.backbone, clip.image_proj
        self.head = CosineHead(vectors, clip.logit_scale.exp(), clip.logit_bias)
        self.num_features, self.position_names = clip.num_features, clip.position_names

    def embed(self, images: Tensor) -> Tensor:
        return self.image_proj(self.backbone.embed(images))

    def layer_groups(self) -> LayerGroups:
        return self.backbone.layer_groups()

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        return self.backbone.feature_maps(images)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.backbone.block_maps(images, blocks)

    def attention_streams(self) -> AttentionStreams:
        return streams_below("backbone", self.backbone)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout | None:
        return self.backbone.token_layout(image_size)
