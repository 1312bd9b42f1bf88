"""ViT as google-research/vision_transformer publishes it: `.npz` files of Flax parameters.

Products are stored input first (``x @ kernel``), heads as an axis of their own: a query kernel is ``[D, heads, d]``.
GELU is the tanh form, LayerNorm's eps 1e-6, images come in [-1, 1].
"""

from saccade.checkpoints.hints import Hints, Shapes, count_layers, image_size
from saccade.checkpoints.mapping import Reshape, Rule, Transpose, join, rename
from saccade.data.preprocessing import Preprocessing
from saccade.models.vit import ViTConfig
from saccade.nn.transformer import BlockConfig

NAME = "Google ViT"
ARCHITECTURE = "vit"
RESAMPLING = "bilinear-corners"

POSITIONS = "Transformer/posembed_input/pos_embedding"
ATTENTION = "MultiHeadDotProductAttention_1"
TURN = Transpose((1, 0))


def matches(names: set[str]) -> bool:
    return {"embedding/kernel", f"Transformer/encoderblock_0/{ATTENTION}/query/kernel"} <= names


def infer(shapes: Shapes, hints: Hints) -> ViTConfig:
    """The config: every part of it is visible, heads too, but a grid that is not square."""
    p, q, in_channels, embed_dim = shapes["embedding/kernel"]
    class_token = "cls" in shapes
    places = shapes[POSITIONS][1] - class_token if POSITIONS in shapes else 0
    block = BlockConfig(
        embed_dim=embed_dim,
        num_heads=shapes[f"Transformer/encoderblock_0/{ATTENTION}/query/kernel"][1],
        mlp_dim=shapes["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"][1],
        norm_eps=1e-6,
        activation="gelu_tanh",
    )
    return ViTConfig(
        block=block,
        depth=count_layers(shapes, "Transformer/encoderblock_{}/LayerNorm_0/scale"),
        image_size=image_size(places, (p, q), hints) if places else hints.image_size or (224, 224),
        patch_size=(p, q),
        in_channels=in_channels,
        num_classes=shapes["head/kernel"][1] if "head/kernel" in shapes else 0,
        positions="learned" if places else "none",
        class_token=class_token,
        prefix_positions=int(class_token and places > 0),
        pooling="cls" if class_token else "mean",
        pre_logits=shapes["pre_logits/kernel"][1] if "pre_logits/kernel" in shapes else None,
    )


def rules(config: ViTConfig) -> list[Rule]:
    dim, heads = config.block.embed_dim, config.block.num_heads
    width = dim // heads
    found = [
        rename("embedding/kernel", "encoder.patch_embed.proj.weight", Transpose((3, 2, 0, 1))),
        rename("embedding/bias", "encoder.patch_embed.proj.bias"),
    ]
    found += [rename("cls", "encoder.cls_token")] if config.class_token else []
    found += [rename(POSITIONS, "encoder.pos_embed.table")] if config.positions == "learned" else []
    for i in range(config.depth):
        theirs, ours = f"Transformer/encoderblock_{i}", f"encoder.blocks.{i}"
        qkv = [f"{theirs}/{ATTENTION}/{part}" for part in ("query", "key", "value")]
        out_of_heads = Reshape((heads, width, dim), (dim, dim))
        into_heads = (Transpose((1, 2, 0)), Reshape((heads, width, dim), (dim, dim)))
        found += [
            *_norm(f"{theirs}/LayerNorm_0", f"{ours}.norm1"),
            join([f"{part}/kernel" for part in qkv], f"{ours}.attn.qkv.weight", *into_heads),
            join([f"{part}/bias" for part in qkv], f"{ours}.attn.qkv.bias", Reshape((heads, width), (dim,))),
            rename(f"{theirs}/{ATTENTION}/out/kernel", f"{ours}.attn.proj.weight", out_of_heads, TURN),
            rename(f"{theirs}/{ATTENTION}/out/bias", f"{ours}.attn.proj.bias"),
            *_norm(f"{theirs}/LayerNorm_2", f"{ours}.norm2"),
            *_dense(f"{theirs}/MlpBlock_3/Dense_0", f"{ours}.mlp.fc1"),
            *_dense(f"{theirs}/MlpBlock_3/Dense_1", f"{ours}.mlp.fc2"),
        ]
    found += _norm("Transformer/encoder_norm", "encoder.norm")
    found += _dense("pre_logits", "pre_logits.0") if config.pre_logits is not None else []
    found += _dense("head", "head") if config.num_classes else []
    return found


def preprocessing(config: ViTConfig, hints: Hints) -> Preprocessing:
    """Google's evaluation: squeezed to the size, bilinear, into [-1, 1]."""
    half = (0.5,) * config.in_channels
    return Preprocessing(config.image_size, "exact", 1.0, "bilinear", config.in_channels, mean=half, std=half)


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [rename(f"{theirs}/scale", f"{ours}.weight"), rename(f"{theirs}/bias", f"{ours}.bias")]


def _dense(theirs: str, ours: str) -> list[Rule]:
    return [rename(f"{theirs}/kernel", f"{ours}.weight", TURN), rename(f"{theirs}/bias", f"{ours}.bias")]
