"""ConvNeXt: a ResNet modernised with the design choices of vision transformers (Liu et al., arXiv 2201.03545).

A patch embedding; then blocks that mix positions within each channel (7 x 7 depthwise convolution, as attention mixes
tokens) and channels at each position (an MLP of four times the width), with layer norm, GELU and a learned scale of
each branch.

B batch, C channels, H x W positions.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import Classifier, FeatureMap, LayerGroups
from saccade.nn.convolution import ChannelNorm
from saccade.nn.mlp import Activation, Mlp
from saccade.nn.patches import require_images
from saccade.nn.transformer import LayerScale, StochasticDepth

#            depths           widths
SIZES = {
    "t": ((3, 3,  9, 3), ( 96, 192,  384,  768)),
    "s": ((3, 3, 27, 3), ( 96, 192,  384,  768)),
    "b": ((3, 3, 27, 3), (128, 256,  512, 1024)),
    "l": ((3, 3, 27, 3), (192, 384,  768, 1536)),
}  # fmt: skip


@dataclass(frozen=True)
class ConvNeXtConfig(Config):
    """A ConvNeXt for any image of at least 32 x 32 pixels.

    Attributes:
        depths: blocks of each stage.
        widths: channels of each stage.
        patch_size: size of the first convolution, in pixels.
        norm_eps: epsilon of all layer norms but the last.
        last_norm_eps: epsilon of the layer norm before the head; 1e-12 in Hugging Face.
        activation: activation of the MLPs.
        layer_scale: initial factor of the branches; None for none.
        drop_path: stochastic depth of the last block, growing linearly from 0.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    patch_size: int = 4
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    norm_eps: float = 1e-6
    last_norm_eps: float = 1e-6
    activation: Activation = "gelu"
    layer_scale: float | None = 1e-6
    drop_path: float = 0.0


class ConvNeXtBlock(nn.Module):
    """``[B, C, H, W]`` -> ``[B, C, H, W]``."""

    def __init__(self, channels: int, config: ConvNeXtConfig, drop_path: float):
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, config.norm_eps)
        self.mlp = Mlp(channels, 4 * channels, config.activation)
        self.scale = nn.Identity() if config.layer_scale is None else LayerScale(channels, config.layer_scale)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(self.spatial(x).permute(0, 2, 3, 1))  # [B, H, W, C]
        return x + self.drop_path(self.scale(self.mlp(places)).permute(0, 3, 1, 2))


class Stage(nn.Module):
    """A downsampling to the stage's size and width, then its blocks."""

    def __init__(self, entrance: list[nn.Module], blocks: list[ConvNeXtBlock]):
        super().__init__()
        self.entrance = nn.Sequential(*entrance)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.entrance(x))


class ConvNeXt(Classifier):
    """Patch embedding, four stages with downsampling between them, the mean over all positions, a norm, a linear
    head."""

    def __init__(self, config: ConvNeXtConfig):
        super().__init__()
        self.config = config
        rates = [config.drop_path * i / max(sum(config.depths) - 1, 1) for i in range(sum(config.depths))]
        channels, stages = config.in_channels, []
        for index, (depth, width) in enumerate(zip(config.depths, config.widths)):
            first = nn.Conv2d(channels, width, config.patch_size, config.patch_size) if index == 0 else None
            norm = ChannelNorm(width if index == 0 else channels, config.norm_eps)
            # The stem norms what it has embedded, a halving norms what it will join.
            entrance = [first, norm] if first is not None else [norm, nn.Conv2d(channels, width, 2, 2)]
            blocks = [ConvNeXtBlock(width, config, rates.pop(0)) for _ in range(depth)]
            stages.append(Stage(entrance, blocks))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(channels, config.last_norm_eps)
        self.num_features = channels
        self.head = nn.Linear(channels, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.constant_(module.get_parameter("bias"), 0.0)

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.norm(self.feature_maps(images)[-1].features.mean(dim=(2, 3)))

    def layer_groups(self) -> LayerGroups:
        """The stem, then each block; a downsampling layer belongs to the block after it."""
        groups: LayerGroups = [[self.stages[0].get_submodule("entrance")]]
        for index, stage in enumerate(self.stages):
            first, *others = stage.get_submodule("blocks").children()
            groups.append([first] if index == 0 else [stage.get_submodule("entrance"), first])
            groups.extend([block] for block in others)
        return groups

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage: strides 4, 8, 16 and 32."""
        require_images(images, self.config.in_channels)
        x, stride, maps = images, self.config.patch_size, []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            stride *= 2 if index > 0 else 1
            maps.append(FeatureMap(x, (stride, stride)))
        return tuple(maps)


def convnext_config(size: str) -> ConvNeXtConfig:
    """The published sizes ``"t"``, ``"s"``, ``"b"`` and ``"l"``."""
    depths, widths = SIZES[size]
    return ConvNeXtConfig(depths, widths)


# The named models of the catalogue.
convnext_t_config = partial(convnext_config, "t")
convnext_s_config = partial(convnext_config, "s")
convnext_b_config = partial(convnext_config, "b")
convnext_l_config = partial(convnext_config, "l")
