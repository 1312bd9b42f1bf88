"""Perceiver for image classification as Hugging Face `transformers` writes it: Fourier, learned and convolutional."""

from dataclasses import replace
from typing import Any

from saccade.checkpoints.blocks import conv_norm
from saccade.checkpoints.mapping import Reshape, Rule, rename, rename_both
from saccade.checkpoints.metadata import CheckpointMetadata, Shapes, count_layers
from saccade.checkpoints.processors import from_huggingface, statistic, value_range
from saccade.data.preprocessing import Preprocessing
from saccade.models.perceiver import LatentsConfig, PerceiverConfig, Reading
from saccade.nn.transformer import BlockConfig

NAME = "Hugging Face Perceiver"
ARCHITECTURE = "perceiver"
PROCESSORS = (None, "PerceiverImageProcessor", "PerceiverFeatureExtractor", "PerceiverImageProcessorFast")
INPUT, DECODER = "perceiver.input_preprocessor", "perceiver.decoder.decoder"
FINAL = f"{DECODER}.final_layer.weight"


def matches(names: set[str]) -> bool:
    return {"perceiver.embeddings.latents", FINAL} <= names


def infer(shapes: Shapes, metadata: CheckpointMetadata) -> PerceiverConfig:
    """The config; values that shapes do not determine (heads, passes, image size) are DeepMind's without a JSON."""
    config_json = metadata.config
    num_classes = shapes[FINAL][0]
    reading: Reading = "pixels"
    size, width, channels = 224, 256, 3
    if f"{INPUT}.convnet_1x1.weight" in shapes:
        reading = "conv1x1"
        width, channels = shapes[f"{INPUT}.convnet_1x1.weight"][:2]
        size = round(shapes[f"{INPUT}.position_embeddings.position_embeddings"][0] ** 0.5)
    elif f"{INPUT}.convnet.conv.weight" in shapes:
        reading, channels = "conv", shapes[f"{INPUT}.convnet.conv.weight"][1]
    resolution = (56, 56) if reading == "conv" else (224, 224)
    latents = latents_of(shapes, metadata, config_json.get("num_blocks", 8))
    return PerceiverConfig(latents, reading, 64, resolution, width, (size, size), channels, num_classes)


def latents_of(shapes: Shapes, metadata: CheckpointMetadata, passes: int, cross_heads: int = 1) -> LatentsConfig:
    """What is the same for images and texts; `cross_heads` without a JSON."""
    config_json = metadata.config
    count, dim = shapes["perceiver.embeddings.latents"]
    layer = "perceiver.encoder.self_attends.{}.layernorm.weight"
    cross, own = "perceiver.encoder.cross_attention", "perceiver.encoder.self_attends.0"
    key_dim = shapes[f"{own}.attention.self.query.weight"][0]
    block = BlockConfig(
        dim,
        config_json.get("num_self_attention_heads", 8),
        shapes[f"{own}.mlp.dense1.weight"][0],
        norm_eps=1e-5,
        attention_dropout=config_json.get("attention_probs_dropout_prob", 0.1),
        key_dim=None if key_dim == dim else key_dim,
    )
    return LatentsConfig(
        block,
        count,
        count_layers(shapes, layer),
        passes,
        heads=config_json.get("num_cross_attention_heads", cross_heads),
        key_dim=shapes[f"{cross}.attention.self.key.weight"][0],
        value_dim=shapes[f"{cross}.attention.self.value.weight"][0],
    )


def rules(config: PerceiverConfig) -> list[Rule]:
    rules = latents_rules(config.latents)
    rules += cross_rules(f"{DECODER}.decoding_cross_attention", "decoder")
    rules += [rename(f"{DECODER}.output_position_encodings.position_embeddings", "queries")]
    rules += rename_both(f"{DECODER}.final_layer", "head")
    if config.reading == "conv1x1":
        places = config.image_size[0] * config.image_size[1]
        table = Reshape((places, config.width), (1, places, config.width))
        rules += rename_both(f"{INPUT}.convnet_1x1", "stem")
        rules += [rename(f"{INPUT}.position_embeddings.position_embeddings", "pos_embed", table)]
        rules += rename_both(f"{INPUT}.positions_projection", "pos_proj")
    elif config.reading == "conv":
        rules += conv_norm(f"{INPUT}.convnet.conv", f"{INPUT}.convnet.batchnorm", "stem.0")
    return rules


def latents_rules(config: LatentsConfig) -> list[Rule]:
    rules = [rename("perceiver.embeddings.latents", "latents.latents")]
    rules += cross_rules("perceiver.encoder.cross_attention", "latents.read.0")
    dim = config.block.embed_dim
    key_dim = config.block.key_dim or dim
    for i in range(config.depth):
        theirs, ours = f"perceiver.encoder.self_attends.{i}", f"latents.blocks.0.{i}"
        for part in ("weight", "bias"):
            names = tuple(f"{theirs}.attention.self.{name}.{part}" for name in ("query", "key", "value"))
            rules.append(Rule(names, (f"{ours}.attn.qkv.{part}",), sizes=(key_dim, key_dim, dim)))
        rules += _common(theirs, ours)
    return rules


def cross_rules(theirs: str, ours: str) -> list[Rule]:
    rules = rename_both(f"{theirs}.attention.self.layernorm2", f"{ours}.context_norm")
    for name in ("query", "key", "value"):
        rules += rename_both(f"{theirs}.attention.self.{name}", f"{ours}.attn.{name[0]}")
    return rules + _common(theirs, ours)


def _common(theirs: str, ours: str) -> list[Rule]:
    pairs = (
        ("attention.self.layernorm1", "norm1"), ("attention.output.dense", "attn.proj"), ("layernorm", "norm2"),
        ("mlp.dense1", "mlp.fc1"), ("mlp.dense2", "mlp.fc2"),
    )  # fmt: skip
    return [rule for old, new in pairs for rule in rename_both(f"{theirs}.{old}", f"{ours}.{new}")]


def describe(config: PerceiverConfig) -> dict[str, Any]:
    """The `config.json` of the same network, without its labels."""
    kind = {"pixels": "Fourier", "conv1x1": "Learned", "conv": "ConvProcessing"}[config.reading]
    width = {"pixels": config.in_channels + 258, "conv1x1": 2 * config.width, "conv": 322}[config.reading]
    latents, block = config.latents, config.latents.block
    return {
        "architectures": [f"PerceiverForImageClassification{kind}"],
        "model_type": "perceiver",
        "num_latents": latents.count,
        "d_latents": block.embed_dim,
        "d_model": width,
        "num_blocks": latents.passes,
        "num_self_attends_per_block": latents.depth,
        "num_self_attention_heads": block.num_heads,
        "num_cross_attention_heads": latents.heads,
        "attention_probs_dropout_prob": block.attention_dropout,
        "image_size": config.image_size[0],
    }


def preprocessing(config: PerceiverConfig, metadata: CheckpointMetadata) -> Preprocessing:
    """DeepMind's: the central 224 of 256 pixels; ImageNet's statistics unless `preprocessor_config.json` has others."""
    if metadata.processor and metadata.processor.get("image_processor_type") not in PROCESSORS:
        return from_huggingface(config.image_size, config.in_channels, metadata)
    processor, default = (
        metadata.processor,
        Preprocessing(config.image_size, crop_pct=0.875, channels=config.in_channels),
    )
    channels = config.in_channels
    return replace(
        default,
        value_range=value_range(processor),
        mean=statistic(processor, "mean", default.mean, channels),
        std=statistic(processor, "std", default.std, channels),
    )
