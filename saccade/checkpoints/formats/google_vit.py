"""ViT as google-research/vision_transformer and big_vision publish it: `.npz` files of Flax parameters.

Products are stored input first (``x @ kernel``), heads as an axis of their own: a query kernel is ``[D, heads, d]``.
GELU is the tanh form, LayerNorm's eps 1e-6, images come in [-1, 1].
"""

import re

from torch import Tensor

from saccade.checkpoints.mapping import Reshape, Rule, Transpose, join, rename
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers, image_size
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.positions import Resampling
from saccade.nn.transformer import BlockConfig

NAME = "Google ViT"
ARCHITECTURE = "vit"

POSITIONS = "Transformer/posembed_input/pos_embedding"
ATTENTION = "MultiHeadDotProductAttention_1"
STACK = "Transformer/encoderblock/"  # big_vision may keep all layers in one tensor
TURN = Transpose((1, 0))

PREFIXES = ("opt/target/", "params/img/", "params/")
# Later versions of Flax count the parts of a block each for itself; the names of the first files are used here.
LATER_NAMES = {
    "MultiHeadDotProductAttention_0/": ATTENTION + "/",
    "LayerNorm_1/": "LayerNorm_2/",
    "MlpBlock_0/": "MlpBlock_3/",
}


def canonical(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the first published files, for those of every later layout."""
    renamed = {}
    prefix = next((p for p in PREFIXES if f"{p}embedding/kernel" in tensors), "")
    for name, tensor in tensors.items():
        if prefix and name.startswith(("opt/state/", "opt/step")):  # what an optimizer left behind
            continue
        name = name.removeprefix(prefix)
        for later, first in LATER_NAMES.items():
            name = re.sub(f"(^|/){later}", rf"\1{first}", name)
        name = POSITIONS if name == "pos_embedding" else name
        if name.startswith(STACK):
            rest = name.removeprefix(STACK)
            renamed |= {f"Transformer/encoderblock_{i}/{rest}": layer for i, layer in enumerate(tensor)}
        else:
            # Norms of the first files broadcast over images: [1, 1, 1, C].
            flat = tensor.ndim == 4 and tuple(tensor.shape[:3]) == (1, 1, 1) and name.endswith(("/scale", "/bias"))
            renamed[name] = tensor.flatten() if flat else tensor
    return renamed


def matches(names: set[str]) -> bool:
    needed = {"embedding/kernel", f"Transformer/encoderblock_0/{ATTENTION}/query/kernel"}
    return needed <= names and "conv_root/kernel" not in names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> ViTConfig:
    """The config: every part of it is visible, heads too, but a grid that is not square."""
    p, q, in_channels, _ = shapes["embedding/kernel"]
    class_token = "cls" in shapes
    places = shapes[POSITIONS][1] - class_token if POSITIONS in shapes else 0
    size = image_size(places, (p, q), metadata) if places else metadata.image_size or (224, 224)
    if not places:
        metadata.notes.append(f"no positions in the file: big_vision's fixed ones for {size[0]} x {size[1]} assumed")
    return ViTConfig(
        block=block_config(shapes),
        depth=count_layers(shapes, "Transformer/encoderblock_{}/LayerNorm_0/scale"),
        image_size=size,
        patch_size=(p, q),
        in_channels=in_channels,
        num_classes=shapes["head/kernel"][1] if "head/kernel" in shapes else 0,
        positions="learned" if places else "sincos_2d_endpoint",
        class_token=class_token,
        prefix_positions=int(class_token and places > 0),
        pooling="cls" if class_token else "attention" if "MAPHead_0/probe" in shapes else "mean",
        pre_logits=shapes["pre_logits/kernel"][1] if "pre_logits/kernel" in shapes else None,
    )


def block_config(shapes: Shapes) -> BlockConfig:
    """The block of a ViT or a hybrid."""
    layer = "Transformer/encoderblock_0"
    embed_dim, num_heads, _ = shapes[f"{layer}/{ATTENTION}/query/kernel"]
    mlp_dim = shapes[f"{layer}/MlpBlock_3/Dense_0/kernel"][1]
    return BlockConfig(embed_dim, num_heads, mlp_dim, norm_eps=1e-6, activation="gelu_tanh")


def rules(config: ViTConfig, vit: str = "") -> list[Rule]:
    """The rules of a ViT whose names here begin with `vit`."""
    rules = [
        rename("embedding/kernel", f"{vit}encoder.patch_embed.proj.weight", Transpose((3, 2, 0, 1))),
        rename("embedding/bias", f"{vit}encoder.patch_embed.proj.bias"),
    ]
    rules += [rename("cls", f"{vit}encoder.cls_token")] if config.class_token else []
    rules += [rename(POSITIONS, f"{vit}encoder.pos_embed.table")] if config.positions == "learned" else []
    for i in range(config.depth):
        theirs, ours = f"Transformer/encoderblock_{i}", f"{vit}encoder.blocks.{i}"
        rules += _norm(f"{theirs}/LayerNorm_0", f"{ours}.norm1")
        rules += _attention(f"{theirs}/{ATTENTION}", f"{ours}.attn", config.block, packed=True)
        rules += _norm(f"{theirs}/LayerNorm_2", f"{ours}.norm2")
        rules += _mlp(f"{theirs}/MlpBlock_3", f"{ours}.mlp")
    rules += _norm("Transformer/encoder_norm", f"{vit}encoder.norm")
    if config.pooling == "attention":
        rules += [rename("MAPHead_0/probe", f"{vit}pool.query"), *_norm("MAPHead_0/LayerNorm_0", f"{vit}pool.norm")]
        rules += _attention(f"MAPHead_0/{ATTENTION}", f"{vit}pool.attn", config.block, packed=False)
        rules += _mlp("MAPHead_0/MlpBlock_3", f"{vit}pool.mlp")
    rules += _dense("pre_logits", f"{vit}pre_logits.0") if config.pre_logits is not None else []
    rules += _dense("head", f"{vit}head") if config.num_classes else []
    return rules


def resampling(config: ViTConfig, metadata: CheckpointMetadata) -> Resampling:
    """Of the `zoom` of SciPy in the publisher's code."""
    return "bilinear-corners"


def preprocessing(config: ViTConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """Google's evaluation: squeezed to the size, bilinear, into [-1, 1]."""
    half = (0.5,) * config.in_channels
    return Preprocessing(config.image_size, "exact", 1.0, "bilinear", config.in_channels, mean=half, std=half)


def _attention(theirs: str, ours: str, config: BlockConfig, *, packed: bool) -> list[Rule]:
    dim, heads = config.embed_dim, config.num_heads
    parts = ("query", "key", "value")
    projections = {"qkv": parts} if packed else {name[0]: (name,) for name in parts}
    out_of_heads = Reshape((heads, dim // heads, dim), (dim, dim))
    into_heads = (Transpose((1, 2, 0)), Reshape((heads, dim // heads, dim), (dim, dim)))
    rules = []
    for name, joined in projections.items():
        biases = Reshape((heads, dim // heads), (dim,))
        rules += [
            join([f"{theirs}/{part}/kernel" for part in joined], f"{ours}.{name}.weight", *into_heads),
            join([f"{theirs}/{part}/bias" for part in joined], f"{ours}.{name}.bias", biases),
        ]
    return [
        *rules,
        rename(f"{theirs}/out/kernel", f"{ours}.proj.weight", out_of_heads, TURN),
        rename(f"{theirs}/out/bias", f"{ours}.proj.bias"),
    ]


def _mlp(theirs: str, ours: str) -> list[Rule]:
    return _dense(f"{theirs}/Dense_0", f"{ours}.fc1") + _dense(f"{theirs}/Dense_1", f"{ours}.fc2")


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [rename(f"{theirs}/scale", f"{ours}.weight"), rename(f"{theirs}/bias", f"{ours}.bias")]


def _dense(theirs: str, ours: str) -> list[Rule]:
    return [rename(f"{theirs}/kernel", f"{ours}.weight", TURN), rename(f"{theirs}/bias", f"{ours}.bias")]
