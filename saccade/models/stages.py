"""Stages of blocks, as in every ResNet: the map keeps its size within a stage and is halved in the next."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from saccade.models.model import FeatureMap


class Stages(nn.ModuleList):
    """One `Sequential` of blocks per stage; the first block of every stage but the first halves the map.

    Args:
        depths: blocks of each stage.
        make_block: (stage, whether it is the stage's first block, stride) -> the block.
        dilated: whether the last stage keeps the map's size, with dilated convolutions in its blocks.
    """

    def __init__(
        self, depths: Sequence[int], make_block: Callable[[int, bool, int], nn.Module], *, dilated: bool = False
    ):
        super().__init__()
        last = len(depths) - 1
        self.strides = [1 if stage == 0 or (dilated and stage == last) else 2 for stage in range(len(depths))]
        for stage, depth in enumerate(depths):
            blocks = (make_block(stage, n == 0, self.strides[stage] if n == 0 else 1) for n in range(depth))
            self.append(nn.Sequential(*blocks))

    def blocks(self) -> list[nn.Module]:
        """The blocks of all stages, in order."""
        return [block for stage in self for block in stage.children()]

    def forward(self, x: Tensor, stride: int) -> tuple[FeatureMap, ...]:
        """A map ``[B, C, h, w]`` and its stride -> the map after each stage."""
        maps = []
        for stage, step in zip(self, self.strides):
            x, stride = stage(x), stride * step
            maps.append(FeatureMap(x, (stride, stride)))
        return tuple(maps)
