"""The ways in which a person runs a vision model today, each as a function of a model's name and images."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from saccade.deferred import Deferred
from saccade.errors import ConfigError
from saccade.inference.backends.backend import Precision, Run
from saccade.inference.backends.eager import EAGER, PACKED
from saccade.inference.backends.inductor import INDUCTOR
from saccade.inference.backends.onnx_runtime import ONNX_RUNTIME
from saccade.inference.backends.openvino import OPENVINO
from saccade.inference.candidates import build
from saccade.inference.rewriting import Part, rewritten
from saccade.models.clip import CLIP
from saccade.models.convnext import ConvNeXtConfig
from saccade.models.detr import DETRConfig
from saccade.models.dpt import DPTConfig
from saccade.models.model import Model
from saccade.models.resnet import ResNetConfig
from saccade.models.vit_encoder import ViTConfig
from saccade.models.zoo import config_of, create

# each is imported in the processes that run it
timm, torchvision, transformers = Deferred("timm"), Deferred("torchvision"), Deferred("transformers")
Way = Callable[[str, Tensor], Run]
OUTPUTS = ("logits", "pred_boxes", "predicted_depth", "image_embeds")  # of transformers' models
TIMM = {
    "resnet50": "resnet50", "convnext_t": "convnext_tiny", "clip_vit_b32": "vit_base_patch32_clip_quickgelu_224",
    "clip_vit_b16": "vit_base_patch16_clip_quickgelu_224",
}  # fmt: skip
TORCHVISION = {"resnet50": "resnet50", "convnext_t": "convnext_tiny"}


class Peer(Model):
    """A model of another library as a model of ours, for the backends."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        output = self.inner(images)
        return output if isinstance(output, Tensor) else tuple(output[name] for name in OUTPUTS if name in output)


def missing(library: str, name: str) -> ConfigError:
    return ConfigError(f"{library} has no {name}")


def of_timm(name: str) -> nn.Module:
    config = config_of(name)
    if name in TIMM:
        classes = config.embed_dim if name.startswith("clip") else config.num_classes
        return timm.create_model(TIMM[name], num_classes=classes)
    if not isinstance(config, ViTConfig):
        raise missing("timm", name)
    block = config.block
    return timm.models.vision_transformer.VisionTransformer(
        img_size=config.image_size[0], patch_size=config.patch_size[0], in_chans=config.in_channels,
        num_classes=config.num_classes, embed_dim=block.embed_dim, depth=config.depth, num_heads=block.num_heads,
        mlp_ratio=block.mlp_dim / block.embed_dim,
    )  # fmt: skip


def of_transformers(name: str) -> nn.Module:
    config = config_of(name)
    if isinstance(config, ViTConfig):
        return transformers.ViTForImageClassification(
            transformers.ViTConfig(
                **sizes(config), num_labels=config.num_classes, num_channels=config.in_channels,
                attn_implementation="sdpa",
            )
        )  # fmt: skip
    if name.startswith("clip_vit"):
        options = {**sizes(config.backbone_config), "projection_dim": config.embed_dim}
        return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**options))
    if isinstance(config, DPTConfig) and isinstance(config.backbone_config, ViTConfig):
        return transformers.DPTForDepthEstimation(
            transformers.DPTConfig(
                **sizes(config.backbone_config), backbone_out_indices=list(config.taps), readout_type=config.readout,
                neck_hidden_sizes=list(config.channels), fusion_hidden_size=config.features,
            )
        )  # fmt: skip
    if isinstance(config, DETRConfig):
        body = transformers.ResNetConfig(out_features=["stage4"])
        options = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone_config": body}
        return transformers.DetrForObjectDetection(transformers.DetrConfig(**options, num_labels=config.num_classes))
    if isinstance(config, ResNetConfig):
        return transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=config.num_classes))
    if isinstance(config, ConvNeXtConfig):
        return transformers.ConvNextForImageClassification(transformers.ConvNextConfig(num_labels=config.num_classes))
    raise missing("transformers", name)


def sizes(config: ViTConfig) -> dict[str, int]:
    """The sizes of a ViT by transformers' names."""
    block = config.block
    return {
        "hidden_size": block.embed_dim, "num_hidden_layers": config.depth, "num_attention_heads": block.num_heads,
        "intermediate_size": block.mlp_dim, "image_size": config.image_size[0], "patch_size": config.patch_size[0],
    }  # fmt: skip


def of_torchvision(name: str) -> nn.Module:
    config = config_of(name)
    if name in TORCHVISION:
        return torchvision.models.get_model(TORCHVISION[name])
    if not isinstance(config, ViTConfig):
        raise missing("torchvision", name)
    block = config.block
    return torchvision.models.VisionTransformer(
        config.image_size[0], config.patch_size[0], config.depth, block.num_heads, block.embed_dim, block.mlp_dim,
        num_classes=config.num_classes,
    )  # fmt: skip


def own(name: str) -> Part:
    """Our model; of a CLIP its image encoder."""
    model = create(name).eval().requires_grad_(False)
    return Part(model.backbone, "embed") if isinstance(model, CLIP) else Part(model, "forward")


def inputs(name: str, batch: int) -> Tensor:
    """Images of the model's own size ``[B, C, H, W]``."""
    config = config_of(name)
    return torch.randn(batch, config.in_channels, *config.image_size)


def peer(make: Callable[[str], nn.Module], backend=EAGER, precision: Precision = "f32") -> Way:
    def start(name: str, images: Tensor) -> Run:
        return build(backend, Part(Peer(make(name)), "forward").eval().requires_grad_(False), images, precision)

    return start


def ours(backend=EAGER, precision: Precision = "f32", *, rewrite: bool = True) -> Way:
    def start(name: str, images: Tensor) -> Run:
        part = own(name)
        part = Part(rewritten(part.model), part.method) if rewrite else part
        return build(backend, part.eval(), images, precision)

    return start


WAYS: dict[str, Way] = {
    "timm": peer(of_timm),
    "timm, compiled and frozen": peer(of_timm, INDUCTOR),
    "transformers": peer(of_transformers),
    "torchvision": peer(of_torchvision),
    "timm in ONNX Runtime": peer(of_timm, ONNX_RUNTIME),
    "timm in OpenVINO": peer(of_timm, OPENVINO),
    "transformers in ONNX Runtime": peer(of_transformers, ONNX_RUNTIME),
    "transformers in OpenVINO": peer(of_transformers, OPENVINO),
    "timm in ONNX Runtime, int8": peer(of_timm, ONNX_RUNTIME, "int8"),
    "transformers in ONNX Runtime, int8": peer(of_transformers, ONNX_RUNTIME, "int8"),
    "timm, bf16": peer(of_timm, EAGER, "bf16"),
    "timm in OpenVINO, bf16": peer(of_timm, OPENVINO, "bf16"),
    "transformers, bf16": peer(of_transformers, EAGER, "bf16"),
    "transformers in OpenVINO, bf16": peer(of_transformers, OPENVINO, "bf16"),
    "saccade": ours(rewrite=False),
    "saccade, rewritten": ours(),
    "saccade, rewritten and packed": ours(PACKED),
    "saccade in ONNX Runtime": ours(ONNX_RUNTIME),
    "saccade in OpenVINO": ours(OPENVINO),
    "saccade in ONNX Runtime, int8": ours(ONNX_RUNTIME, "int8"),
    "saccade, packed, bf16": ours(PACKED, "bf16"),
    "saccade in OpenVINO, bf16": ours(OPENVINO, "bf16"),
}
SLOW_TO_START = ("timm, compiled and frozen",)  # half a minute or more, for nothing on most processors


def precision_of(way: str) -> Precision:
    """The precision of a way, from its name."""
    return "int8" if way.endswith("int8") else "bf16" if way.endswith("bf16") else "f32"


def ways_for(models: Iterable[str], precisions: Iterable[str]) -> list[str]:
    """Every way in some precisions but those that start slowly. timm's models in other runtimes stand for all plain
    ViTs; transformers' where timm has no such model."""
    theirs = {True: "transformers in ", False: "timm in "}
    skip = {theirs[covered] for covered in (True, False) if all(in_timm(name) == covered for name in models)}
    return [
        way
        for way in WAYS
        if precision_of(way) in precisions and way not in SLOW_TO_START and not any(way.startswith(s) for s in skip)
    ]


def in_timm(name: str) -> bool:
    return name in TIMM or isinstance(config_of(name), ViTConfig)


def matmul_limit(name: str, images: Tensor) -> Run:
    """A product of the size of a ViT-B's MLP with packed weights: what the processor reaches at best."""
    x, weight = torch.randn(1576, 768), torch.randn(3072, 768)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    return lambda images: [torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")]


LIMIT = "matmul limit"
LIMIT_FLOP = 2 * 1576 * 768 * 3072
