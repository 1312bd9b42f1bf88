"""CLIP and SigLIP: images and texts in one space (Radford et al., arXiv 2103.00020; Zhai et al., arXiv 2303.15343).

An image encoder and a text encoder each end in a vector of the same width. The contrastive loss makes the vector of an
image nearest to that of its own caption; the temperature of the loss is learned too. A class is then a text: "a photo
of a cat".

B images, T texts, L tokens of a text, W width of the text encoder, E width of the common space.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.backbone import WithBackbone, freeze_unused
from saccade.models.clip_resnet import ClipResNetConfig
from saccade.models.clip_towers import TextConfig, TextTower, initialise_image_tower, siglip_towers
from saccade.models.model import (
    AttentionStreams,
    FeatureMap,
    LayerGroups,
    Model,
    block_groups,
    example_tokens,
    streams_below,
)
from saccade.models.resnet import ResNetConfig
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import build
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig

LARGEST_SCALE = 100.0  # of the cosines: temperatures below 0.01 made training unstable
Objective = Literal["softmax", "sigmoid"]
FIRST_LOGIT = {"softmax": (1 / 0.07, 0.0), "sigmoid": (10.0, -10.0)}  # scale and bias of fresh models


@dataclass(frozen=True)
class CLIPConfig(WithBackbone):
    """An image encoder and a text encoder.

    Attributes:
        backbone, backbone_config: the image encoder: any backbone, OpenAI's are "vit" and "clip_resnet".
        text: the text encoder.
        embed_dim: E.
        objective: how logits become probabilities: a softmax over the texts of an image and over the images of a text
            (CLIP), or a sigmoid of each pair, whose logits have a learned bias (SigLIP).
        image_projection: whether the image encoder is followed by a linear map; without one its width is E.
        text_projection: the map behind the text encoder: "linear", "affine" (with a bias), or "none" where W is E.
    """

    backbone_config: Any
    text: TextConfig
    embed_dim: int
    backbone: str = "vit"
    num_classes: int = 0
    objective: Objective = "softmax"
    image_projection: bool = True
    text_projection: Literal["linear", "affine", "none"] = "linear"


class ClipOutput(NamedTuple):
    """Unit vectors of images and texts, the factor of their cosines, and what a sigmoid objective adds to them."""

    image: Tensor  # [B, E]
    text: Tensor  # [T, E]
    scale: Tensor  # []
    bias: Tensor | None = None  # []

    @property
    def logits(self) -> Tensor:
        """Similarity of each image with each text: ``[B, T]``."""
        logits = self.scale * self.image @ self.text.T
        return logits if self.bias is None else logits + self.bias


class CLIP(Model):
    """``net(images [B, C, H, W], tokens [T, L])`` -> :class:`ClipOutput`."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        self.config = config
        self.backbone = build(config.backbone, config.backbone_config.to_dict())
        width = self.backbone.num_features
        self.image_proj: nn.Module = nn.Identity()  # a ResNet's attention pool ends in the common space itself
        if not config.image_projection and width != config.embed_dim:
            raise ValueError(f"without image_projection embed_dim is the width of the image encoder, {width}")
        if config.backbone != "clip_resnet" and config.image_projection:
            self.image_proj = nn.Linear(width, config.embed_dim, bias=False)
            nn.init.normal_(self.image_proj.weight, std=width**-0.5)
        if isinstance(self.backbone, VisionTransformer):
            initialise_image_tower(self.backbone)
        self.num_features = config.embed_dim
        self.position_names = tuple(f"backbone.{name}" for name in self.backbone.position_names)
        self.text = TextTower(config.text)
        text_width = config.text.block.embed_dim
        self.text_proj: nn.Module = nn.Identity()
        if config.text_projection != "none":
            self.text_proj = nn.Linear(text_width, config.embed_dim, bias=config.text_projection == "affine")
            nn.init.normal_(self.text_proj.weight, std=text_width**-0.5)
            if self.text_proj.bias is not None:
                nn.init.zeros_(self.text_proj.bias)
        elif text_width != config.embed_dim:
            raise ValueError(f"with text_projection='none' embed_dim is the width of the text encoder, {text_width}")
        scale, bias = FIRST_LOGIT[config.objective]
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = nn.Parameter(torch.tensor(bias)) if config.objective == "sigmoid" else None

    def forward(self, images: Tensor, tokens: Tensor) -> ClipOutput:
        """Embed every image and every text.

        Args:
            images: normalised by the checkpoint's preprocessing.
            tokens: ``[T, L]`` from the tokenizer, which pads texts after their end token.
        """
        image, text = self.encode_image(images), self.encode_text(tokens)
        return ClipOutput(
            F.normalize(image, dim=-1), F.normalize(text, dim=-1), self.logit_scale.exp(), self.logit_bias
        )

    def clamp_parameters(self) -> None:
        """Keep the factor of the cosines in [1, 100], as open_clip does: a clamp in the forward pass would leave a
        parameter beyond it without a gradient, and so for all later steps. Sigmoid objectives have no such limit."""
        if self.config.objective == "softmax":
            with torch.no_grad():
                self.logit_scale.clamp_(0.0, math.log(LARGEST_SCALE))

    def encode_image(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, E]``, not normalised."""
        return self.image_proj(self.backbone.embed(images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """``[T, L]`` -> ``[T, E]``, not normalised."""
        return self.text_proj(self.text(tokens))

    def embed(self, images: Tensor) -> Tensor:
        return self.encode_image(images)

    def freeze_unused(self) -> None:
        freeze_unused(self.backbone, self.config.backbone, lambda net, images: [net.embed(images)])

    def layer_groups(self) -> LayerGroups:
        """Both encoders side by side, aligned at their outputs."""
        text = self.text
        embeddings = (text.token_embed, text.pos_embed)
        towers = self.backbone.layer_groups(), block_groups(embeddings, text.blocks, [text.norm])
        groups: LayerGroups = [[] for _ in range(max(len(tower) for tower in towers))]
        for tower in towers:
            for group, part in zip(groups[len(groups) - len(tower) :], tower):
                group += part
        return groups

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The image encoder's maps."""
        return self.backbone.feature_maps(images)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.backbone.block_maps(images, blocks)

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        text = self.config.text
        tokens = example_tokens(batch_size, text.context_length, text.vocab_size, None)
        return *super().example_inputs(batch_size, image_size), tokens

    def attention_streams(self) -> AttentionStreams:
        """Of each encoder; no attention leads from one to the other."""
        return *streams_below("backbone", self.backbone), ("text.*", "text", "text")

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout | None:
        return self.backbone.token_layout(image_size)


#              width, depth, patch, text width, common width
VIT_SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "b32": (768, 12, 32, 512, 512),
    "b16": (768, 12, 16, 512, 512),
    "l14": (1024, 24, 14, 768, 768),
}


def clip_vit_config(size: str, image_size: int = 224) -> CLIPConfig:
    """OpenAI's: ``clip_vit_config("b32")`` has 151,277,313 parameters."""
    width, depth, patch, text_width, common = VIT_SIZES[size]
    backbone = ViTConfig(
        clip_block(width), depth, (image_size, image_size), (patch, patch), num_classes=0, input_norm=True
    )
    return CLIPConfig(backbone, TextConfig(clip_block(text_width), 12), common)


def clip_resnet_config(layers: int) -> CLIPConfig:
    """OpenAI's with ResNets: 50 or 101 layers."""
    depths, common = {50: ((3, 4, 6, 3), 1024), 101: ((3, 4, 23, 3), 512)}[layers]
    tower = ClipResNetConfig(depths, out_dim=common)
    return CLIPConfig(tower, TextConfig(clip_block(512), 12), common, "clip_resnet")


def siglip_config(size: str, patch_size: int, image_size: int = 256, vocab_size: int = 256_000) -> CLIPConfig:
    """Google's: ``siglip_config("b", 16, 224, 32_000)`` has 203,155,970 parameters; SigLIP 2 has Gemma's vocabulary."""
    tower, text = siglip_towers(size, patch_size, image_size, vocab_size)
    width = tower.block.embed_dim
    return CLIPConfig(tower, text, width, "vit", 0, "sigmoid", image_projection=False, text_projection="affine")


def clip_block(width: int) -> BlockConfig:
    """A block of either encoder: heads of 64 features, OpenAI's approximation of GELU."""
    return BlockConfig(width, width // 64, 4 * width, norm_eps=1e-5, activation="quick_gelu")


def clip_ti16_config() -> CLIPConfig:
    """A ViT-Ti/16, which may be pre-trained (``--init``), and a text encoder of the same width, for few captions."""
    block = BlockConfig(192, 3, 768)
    backbone = ViTConfig(block, 12, (224, 224), (16, 16), num_classes=0)
    return CLIPConfig(backbone, TextConfig(replace(block, norm_eps=1e-5), 4, 1024, 48), 192)


def clip_small_config() -> CLIPConfig:
    """For images of 64 pixels and a small vocabulary, trained from fresh weights; a ResNet learns faster on these than
    a ViT."""
    backbone = ResNetConfig("basic", (1, 1, 2), image_size=(64, 64), num_classes=0, width=32)
    block = BlockConfig(128, 4, 256, norm_eps=1e-5)
    return CLIPConfig(backbone, TextConfig(block, 3, 1024, 48), 128, "resnet")


# The named models of the catalogue.
clip_vit_b32_config = partial(clip_vit_config, "b32")
clip_vit_b16_config = partial(clip_vit_config, "b16")
clip_vit_l14_config = partial(clip_vit_config, "l14")
clip_vit_l14_336_config = partial(clip_vit_config, "l14", image_size=336)
clip_r50_config = partial(clip_resnet_config, 50)
clip_r101_config = partial(clip_resnet_config, 101)
siglip_b16_config = partial(siglip_config, "b", 16, 224, 32_000)
siglip_l16_config = partial(siglip_config, "l", 16, 256, 32_000)
siglip_so14_config = partial(siglip_config, "so", 14, 384, 32_000)
siglip2_b32_config = partial(siglip_config, "b", 32)
siglip2_b16_config = partial(siglip_config, "b", 16, 224)
siglip2_l16_config = partial(siglip_config, "l", 16)
siglip2_so14_config = partial(siglip_config, "so", 14, 224)
siglip2_so16_config = partial(siglip_config, "so", 16)
siglip2_g16_config = partial(siglip_config, "gopt", 16)
