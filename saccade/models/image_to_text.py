"""An image in words: a ViT looks, a decoder writes, each word with a look at all patches.

The encoder of the ViT (Dosovitskiy et al., arXiv 2010.11929) in the place of the one that reads in the original
Transformer (Vaswani et al., arXiv 1706.03762).

B images, N patches of an image, M tokens of a text, V words.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saccade.models.conv_vit import ConvViTConfig
from saccade.models.model import OnBackbone
from saccade.models.vit import ViTConfig
from saccade.models.writing import Writer, WriterConfig
from saccade.models.zoo import backbone_maps, build, read_config
from saccade.nn.decoding import Memory
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True, kw_only=True)
class ImageToTextConfig(OnBackbone, WriterConfig):
    """A model of the zoo in front of a decoder.

    Attributes:
        backbone: architecture of what looks; its last feature map is read, place by place.
        backbone_config: its config, without a head. Where it is wider or narrower than the decoder, a linear map
            adapts it.
    """

    backbone: str = "vit"
    backbone_config: Any = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ImageToTextConfig":
        told, block = values["backbone_config"], BlockConfig(**values["block"])
        return cls(**{**values, "block": block, "backbone_config": read_config(values["backbone"], told)})


class ImageToText(Writer):
    """``net(images [B, C, H, W], target [B, M])`` -> logits of the next word, ``[B, M, V]``."""

    config: ImageToTextConfig

    def __init__(self, config: ImageToTextConfig):
        super().__init__(config)
        self.backbone = build(config.backbone, config.backbone_config.to_dict())
        self.position_names = tuple(f"backbone.{name}" for name in self.backbone.position_names)
        width, dim = backbone_maps(config.backbone, config.backbone_config)[-1][0], config.block.embed_dim
        self.bridge = nn.Identity() if width == dim else nn.Linear(width, dim)

    def encode(self, source: Tensor) -> Memory:
        places = self.backbone.features(source)[-1].features.flatten(2).transpose(1, 2)  # [B, N, C]
        return Memory(self.bridge(places), None)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        """How the keys of the decoder's looks lie over an image."""
        height, width = self.config.image_size if image_size is None else image_size
        stride = backbone_maps(self.config.backbone, self.config.backbone_config)[-1][1]
        return TokenLayout(0, (-(-height // stride[0]), -(-width // stride[1])), stride)

    def inputs_for(self, images: Tensor) -> tuple[Tensor, ...]:
        words = torch.full((len(images), self.config.context_length), self.config.begin, device=images.device)
        return images, words


def image_to_text_strips_config() -> ImageToTextConfig:
    """For strips of digits, 12 x 56 grey pixels: a ViT behind three convolutions, so that few digits teach strokes."""
    vit = ConvViTConfig(
        BlockConfig(96, 4, 192), 3, channels=(24, 48, 96), strides=(1, 2, 2), image_size=(12, 56), in_channels=1,
        num_classes=0,
    )  # fmt: skip
    block = BlockConfig(96, 4, 192, norm_eps=1e-5, activation="relu", dropout=0.1)
    return ImageToTextConfig(
        block=block, decoder_depth=2, vocab_size=100, context_length=16, backbone="conv_vit", backbone_config=vit
    )


def image_to_text_ti16_config() -> ImageToTextConfig:
    """A ViT-Ti/16, such as the one of DeiT, and a small decoder."""
    vit = ViTConfig(BlockConfig(192, 3, 768), 12, num_classes=0)
    block = BlockConfig(192, 3, 384, norm_eps=1e-5, activation="relu", dropout=0.1)
    return ImageToTextConfig(block=block, decoder_depth=2, vocab_size=4000, context_length=64, backbone_config=vit)
