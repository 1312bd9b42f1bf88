"""Rules for what several formats share: the parts of a transformer block, of a convolution with its norm, of a stem."""

from collections.abc import Callable

from torch import Tensor

from saccade.checkpoints.mapping import Reshape, Rule, Step, Transpose, join, rename, rename_both, split
from saccade.models.hybrid import StemConfig
from saccade.nn.transformer import BlockConfig

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
INPUT_FIRST = Transpose((3, 2, 0, 1))  # a convolution's kernel as TensorFlow and Flax store it, [k, k, C, C']


def timm_block(theirs: str, ours: str, config: BlockConfig) -> list[Rule]:
    """A block as timm, Meta and we ourselves name its parts."""
    rules = []
    for layer in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        rules += rename_both(f"{theirs}.{layer}", f"{ours}.{layer}")
    rules += [rename(f"{theirs}.attn.qkv.weight", f"{ours}.attn.qkv.weight")]
    rules += [rename(f"{theirs}.attn.qkv.bias", f"{ours}.attn.qkv.bias")] if config.qkv_bias else []
    if config.layer_scale is not None:
        rules += [rename(f"{theirs}.{ls}.gamma", f"{ours}.{ls}.gamma") for ls in ("ls1", "ls2")]
    return rules


def timm_pool(theirs: str, ours: str) -> list[Rule]:
    """An attention pool as timm names its parts."""
    rules = [rename(f"{theirs}.latent", f"{ours}.query")]
    for part in ("weight", "bias"):
        rules += [rename(f"{theirs}.q.{part}", f"{ours}.attn.q.{part}")]
        rules += [split(f"{theirs}.kv.{part}", [f"{ours}.attn.k.{part}", f"{ours}.attn.v.{part}"])]
    for layer, name in (("proj", "attn.proj"), ("norm", "norm"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
        rules += rename_both(f"{theirs}.{layer}", f"{ours}.{name}")
    return rules


def huggingface_attention(theirs: str, ours: str, config: BlockConfig) -> list[Rule]:
    """Three tensors of Hugging Face are our one."""
    qkv = [f"{theirs}.attention.attention.{name}" for name in ("query", "key", "value")]
    parts = ("weight", "bias") if config.qkv_bias else ("weight",)
    rules = [join([f"{name}.{part}" for name in qkv], f"{ours}.attn.qkv.{part}") for part in parts]
    return rules + rename_both(f"{theirs}.attention.output.dense", f"{ours}.attn.proj")


def huggingface_layer(theirs: str, ours: str, config: BlockConfig) -> list[Rule]:
    """A block as Hugging Face names the parts of ViT, DeiT, MAE and MSN."""
    rules = rename_both(f"{theirs}.layernorm_before", f"{ours}.norm1") + huggingface_attention(theirs, ours, config)
    rules += rename_both(f"{theirs}.layernorm_after", f"{ours}.norm2")
    rules += rename_both(f"{theirs}.intermediate.dense", f"{ours}.mlp.fc1")
    return rules + rename_both(f"{theirs}.output.dense", f"{ours}.mlp.fc2")


def rotary_pairs(config: BlockConfig, *columns: int) -> tuple[Step, ...]:
    """Reorder the rows of a projection to queries or keys whose features i and i + d / 2 of a head turn together, as in
    most code since LLaMA, to ours, where 2i and 2i + 1 do.

    Args:
        config: of the block.
        columns: of the projection, D; none for its bias.
    """
    width = config.embed_dim if config.key_dim is None else config.key_dim
    heads, half = config.num_heads, width // config.num_heads // 2
    axes = (0, 2, 1, *range(3, 3 + len(columns)))
    return (
        Reshape((width, *columns), (heads, 2, half, *columns)),
        Transpose(axes),
        Reshape((heads, half, 2, *columns), (width, *columns)),
    )


def rotary_attention(theirs: str, ours: str, config: BlockConfig) -> list[Rule]:
    """A packed projection of rotary attention, which is three here, and the biases of its queries and values."""
    pairs = rotary_pairs(config, config.embed_dim)
    rules = [
        Rule(
            (f"{theirs}.qkv.weight",), tuple(f"{ours}.{name}.weight" for name in "qkv"), steps_after=(pairs, pairs, ())
        )
    ]
    if config.qkv_bias:
        rules += [rename(f"{theirs}.q_bias", f"{ours}.q.bias", *rotary_pairs(config))]
        rules += [rename(f"{theirs}.v_bias", f"{ours}.v.bias")]
    return rules


def conv_norm(conv: str, norm: str, ours: str) -> list[Rule]:
    """A convolution and its batch norm, which are one part here."""
    return [rename(f"{conv}.weight", f"{ours}.0.weight"), *batch_norm(norm, f"{ours}.1")]


def batch_norm(theirs: str, ours: str) -> list[Rule]:
    return [rename(f"{theirs}.{part}", f"{ours}.{part}") for part in BATCH_NORM]


def stem(config: StemConfig, root: tuple[str, str], unit: str, projection: tuple[str, str], pair: "Pair") -> list[Rule]:
    """The ResNet in front of a hybrid ViT.

    Args:
        config: of the stem.
        root: names of the first convolution and its norm.
        unit: of a block, with `{stage}` and `{number}` counted from 0; ends with what stands before a layer's name.
        projection: names of the shortcut's convolution and norm within a unit.
        pair: (convolution, norm, ours) -> their rules.
    """
    rules = pair(*root, "stem.root")
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            theirs, ours = unit.format(stage=stage, number=number), f"stem.stages.{stage}.{number}"
            for i in (1, 2, 3):
                rules += pair(f"{theirs}conv{i}", f"{theirs}norm{i}", f"{ours}.conv{i}")
            if number == 0:
                rules += pair(f"{theirs}{projection[0]}", f"{theirs}{projection[1]}", f"{ours}.shortcut")
    return rules


Pair = Callable[[str, str, str], list[Rule]]


def group_norm_pair(conv: str, norm: str, ours: str) -> list[Rule]:
    """A convolution and its group norm as PyTorch's projects name them."""
    return [rename(f"{conv}.weight", f"{ours}.0.weight"), *rename_both(norm, f"{ours}.1")]


def stem_config(names: set[str], width: int, unit: str, norm_eps: float, conv_eps: float) -> StemConfig:
    """The stem's depths, counted by the names of the units' first convolutions (`unit` as in :func:`stem`)."""
    depths: list[int] = []
    while unit.format(stage=len(depths), number=0) in names:
        number = 1
        while unit.format(stage=len(depths), number=number) in names:
            number += 1
        depths.append(number)
    return StemConfig(tuple(depths), width, norm_eps, conv_eps)


def prefixed(tensors: dict[str, Tensor], prefix: str, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """Names that begin with one of `parts` get the prefix that a model with a head has in front of them."""
    return {f"{prefix}.{name}" if name.startswith(parts) else name: tensor for name, tensor in tensors.items()}
