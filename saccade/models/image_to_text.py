"""Image to text: a vision encoder and a text decoder that attends to all patches.

The encoder of a ViT (Dosovitskiy et al., arXiv 2010.11929) takes the place of the text encoder in the original
Transformer (Vaswani et al., arXiv 1706.03762).

B images, N patches of an image, M tokens of a text, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from saccade.models.backbone import WithBackbone, all_maps, backbone_maps, freeze_unused
from saccade.models.conv_vit import ConvViTConfig
from saccade.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, example_tokens, streams_below
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import build
from saccade.nn.generation import EncoderOutput
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True, kw_only=True)
class ImageToTextConfig(WithBackbone, EncoderDecoderConfig):
    """A vision encoder from the catalogue and a text decoder.

    Attributes:
        backbone: architecture of the encoder; its last feature map, flattened, is the encoder's output.
        backbone_config: its config, without a head. If its width differs from the decoder's, a linear map adapts it.
    """

    backbone: str = "vit"
    backbone_config: Any = None


class ImageToText(EncoderDecoder):
    """``net(images [B, C, H, W], target [B, M])`` -> logits of the next token, ``[B, M, V]``."""

    config: ImageToTextConfig

    def __init__(self, config: ImageToTextConfig):
        super().__init__(config)
        self.backbone = build(config.backbone, config.backbone_config.to_dict())
        self.position_names = tuple(f"backbone.{name}" for name in self.backbone.position_names)
        width, dim = backbone_maps(config.backbone, config.backbone_config)[-1][0], config.block.embed_dim
        self.bridge = nn.Identity() if width == dim else nn.Linear(width, dim)

    def encode(self, source: Tensor) -> EncoderOutput:
        patches = self.backbone.features(source)[-1].features.flatten(2).transpose(1, 2)  # [B, N, C]
        return EncoderOutput(self.bridge(patches), None)

    def embed(self, images: Tensor) -> Tensor:
        """The mean of an image's tokens as the decoder receives them: ``[B, C, H, W]`` -> ``[B, D]``."""
        return self.encode(images).tokens.mean(dim=1)

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The encoder's maps."""
        return self.backbone.feature_maps(images)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.backbone.block_maps(images, blocks)

    def freeze_unused(self) -> None:
        freeze_unused(self.backbone, self.config.backbone, lambda *x: all_maps(*x)[-1:])

    def layer_groups(self) -> LayerGroups:
        """The encoder, then the decoder."""
        return [*self.backbone.layer_groups(), *self.decoder_groups(self.bridge, self.token_embed)]

    def attention_streams(self) -> AttentionStreams:
        return *streams_below("backbone", self.backbone), *self.decoder_streams("image")

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        """How the encoder's tokens are arranged over an image; the patches among them are the keys of the decoder's
        cross-attention."""
        height, width = self.config.image_size if image_size is None else image_size
        encoder = self.backbone.token_layout((height, width))
        if encoder is not None:
            return encoder
        stride = backbone_maps(self.config.backbone, self.config.backbone_config)[-1][1]
        return TokenLayout(0, (-(-height // stride[0]), -(-width // stride[1])), stride)

    def example_inputs(self, batch_size: int = 1, image_size: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        tokens = example_tokens(batch_size, self.config.context_length, self.config.vocab_size, None)
        return *super().example_inputs(batch_size, image_size), tokens


def image_to_text_strips_config() -> ImageToTextConfig:
    """For strips of digits, 12 x 56 grey pixels: a ViT after three convolutions."""
    vit = ConvViTConfig(
        BlockConfig(96, 4, 192), 3, channels=(24, 48, 96), strides=(1, 2, 2), image_size=(12, 56), in_channels=1,
        num_classes=0,
    )  # fmt: skip
    block = BlockConfig(96, 4, 192, norm_eps=1e-5, activation="relu", dropout=0.1)
    return ImageToTextConfig(
        block=block, decoder_depth=2, vocab_size=100, context_length=16, backbone="conv_vit", backbone_config=vit
    )


def image_to_text_ti16_config() -> ImageToTextConfig:
    """A ViT-Ti/16, such as DeiT's, and a small decoder."""
    vit = ViTConfig(BlockConfig(192, 3, 768), 12, num_classes=0)
    block = BlockConfig(192, 3, 384, norm_eps=1e-5, activation="relu", dropout=0.1)
    return ImageToTextConfig(block=block, decoder_depth=2, vocab_size=4000, context_length=64, backbone_config=vit)
