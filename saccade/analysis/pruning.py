"""Remove heads and blocks from a transformer: a smaller model with the outputs of the large one without them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from saccade.analysis.importance import Importance
from saccade.errors import ConfigError
from saccade.models.model import Model
from saccade.models.zoo import build
from saccade.nn.transformer import BlockConfig, Encoder


def prune(model: Model, architecture: str, *, heads: Sequence[Sequence[int]] = (), blocks: Sequence[int] = ()) -> Model:
    """A smaller model. Its outputs equal those under ``saccade.intervene(model, heads=…, blocks=…)``.

    Args:
        model: with one stack of self-attention blocks: ViT, DeiT, a convolutional stem with blocks.
        architecture: of the catalogue.
        heads: heads to remove from each block, the same number in each.
        blocks: indices of blocks to remove, from 0.

    Raises:
        ConfigError: the model has no such stack or part, or nothing would be left of it.
    """
    stack, encoder = single_stack(model)
    config = model.config
    block: BlockConfig = config.block
    remaining = [i for i in range(len(encoder)) if i not in set(blocks)]
    if not set(blocks) <= set(range(len(encoder))) or not remaining:
        raise ConfigError(
            f"blocks {sorted(blocks)} cannot be removed: they are 0 to {len(encoder) - 1}, and one must stay"
        )
    heads = list(heads) or [[]] * len(encoder)
    counts = {len(set(part)) for part in heads}
    if len(heads) != len(encoder) or len(counts) != 1:
        raise ConfigError("give the same number of heads for each block")
    count = counts.pop()
    if count >= block.num_heads or any(not 0 <= head < block.num_heads for part in heads for head in part):
        raise ConfigError(f"heads are 0 to {block.num_heads - 1}, and one must stay in each block")
    widths = [block.key_dim or block.embed_dim, block.value_dim or block.embed_dim]
    num_heads = block.num_heads - count
    if count:
        key_dim, value_dim = (width // block.num_heads * num_heads for width in widths)
        block = replace(block, num_heads=num_heads, key_dim=key_dim, value_dim=value_dim)
    smaller = build(architecture, replace(config, depth=len(remaining), block=block).to_dict())
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(f"{stack}.")}
    for new, old in enumerate(remaining):
        rest = [head for head in range(config.block.num_heads) if head not in heads[old]]
        for name, tensor in encoder[old].state_dict().items():
            state[f"{stack}.{new}.{name}"] = _without_heads(name, tensor, rest, config.block.num_heads, widths)
    smaller.load_state_dict(state)
    return smaller.train(model.training)


def single_stack(model: Model) -> tuple[str, Encoder]:
    """The path of a model's only stack of blocks, and the stack.

    Raises:
        ConfigError: there is none, or more than one.
    """
    stacks = [(path, module) for path, module in model.named_modules() if isinstance(module, Encoder)]
    config = model.config
    if len(stacks) != 1 or not isinstance(getattr(config, "block", None), BlockConfig) or stacks[0][1][0].positions:
        raise ConfigError(f"{type(model).__name__} has no single stack of self-attention blocks to remove parts from")
    return stacks[0]


def least_important(
    importance: Importance, depth: int, *, heads: int = 0, blocks: int = 0
) -> tuple[list[list[int]], list[int]]:
    """The heads of each block and the blocks without which the model loses least, by the number that selects weights.

    Args:
        importance: of each part.
        depth: number of blocks.
        heads: how many in each block.
        blocks: how many.
    """
    changes = [part for part in importance.parts if part.head is None]
    ranked = sorted(range(len(changes)), key=lambda i: -changes[i].selection)
    paths = list(dict.fromkeys(part.path for part in importance.parts if part.head is not None))
    by_layer = []
    for path in paths[:depth]:
        parts = [part for part in importance.parts if part.path == path and part.head is not None]
        parts.sort(key=lambda part: -part.selection)
        by_layer.append(sorted(part.head for part in parts[:heads] if part.head is not None))
    return by_layer, sorted(ranked[:blocks])


def _without_heads(name: str, tensor: Tensor, rest: list[int], num_heads: int, widths: list[int]) -> Tensor:
    """A tensor of a block with the rows (of the projections to heads) or columns (of that back) of the other heads."""
    if len(rest) == num_heads or not name.startswith("attn."):
        return tensor
    key_dim, value_dim = widths

    def of_heads(x: Tensor, axis: int) -> Tensor:
        return x.unflatten(axis, (num_heads, -1)).index_select(axis, torch.tensor(rest)).flatten(axis, axis + 1)

    if name.startswith("attn.qkv."):
        return torch.cat([of_heads(part, 0) for part in tensor.split([key_dim, key_dim, value_dim])])
    if name.startswith(("attn.q.", "attn.k.", "attn.v.")):
        return of_heads(tensor, 0)
    return of_heads(tensor, 1) if name == "attn.proj.weight" else tensor
