"""The ways in which a person runs a vision transformer today, each as a function of a config and images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from saccade.deferred import Deferred
from saccade.inference.backends.backend import Precision, Run
from saccade.inference.backends.eager import EAGER, PACKED
from saccade.inference.backends.inductor import INDUCTOR
from saccade.inference.backends.onnx_runtime import ONNX_RUNTIME
from saccade.inference.backends.openvino import OPENVINO
from saccade.inference.candidates import build
from saccade.inference.rewriting import Part, rewritten
from saccade.models.model import Model
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig

# each is imported in the processes that run it
timm, torchvision, transformers = Deferred("timm"), Deferred("torchvision"), Deferred("transformers")
Way = Callable[[ViTConfig, Tensor], Run]


class Peer(Model):
    """A model of another library as a model of ours, for the backends."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        output = self.inner(images)
        return output if isinstance(output, Tensor) else output.logits


def of_timm(config: ViTConfig) -> nn.Module:
    block = config.block
    return timm.models.vision_transformer.VisionTransformer(
        img_size=config.image_size[0], patch_size=config.patch_size[0], in_chans=config.in_channels,
        num_classes=config.num_classes, embed_dim=block.embed_dim, depth=config.depth, num_heads=block.num_heads,
        mlp_ratio=block.mlp_dim / block.embed_dim,
    )  # fmt: skip


def of_transformers(config: ViTConfig) -> nn.Module:
    block = config.block
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=block.embed_dim, num_hidden_layers=config.depth, num_attention_heads=block.num_heads,
            intermediate_size=block.mlp_dim, num_labels=config.num_classes, attn_implementation="sdpa",
            image_size=config.image_size[0], patch_size=config.patch_size[0], num_channels=config.in_channels,
        )
    )  # fmt: skip


def of_torchvision(config: ViTConfig) -> nn.Module:
    block = config.block
    return torchvision.models.VisionTransformer(
        config.image_size[0], config.patch_size[0], config.depth, block.num_heads, block.embed_dim, block.mlp_dim,
        num_classes=config.num_classes,
    )  # fmt: skip


def peer(make: Callable[[ViTConfig], nn.Module], backend=EAGER, precision: Precision = "f32") -> Way:
    def start(config: ViTConfig, images: Tensor) -> Run:
        return build(backend, Part(Peer(make(config)), "forward").eval().requires_grad_(False), images, precision)

    return start


def ours(backend=EAGER, precision: Precision = "f32", *, rewrite: bool = True) -> Way:
    def start(config: ViTConfig, images: Tensor) -> Run:
        model = VisionTransformer(config).eval().requires_grad_(False)
        model = rewritten(model) if rewrite else model
        return build(backend, Part(model, "forward").eval(), images, precision)

    return start


WAYS: dict[str, Way] = {
    "timm": peer(of_timm),
    "timm, compiled and frozen": peer(of_timm, INDUCTOR),
    "transformers": peer(of_transformers),
    "torchvision": peer(of_torchvision),
    "timm in ONNX Runtime": peer(of_timm, ONNX_RUNTIME),
    "timm in OpenVINO": peer(of_timm, OPENVINO),
    "timm in ONNX Runtime, int8": peer(of_timm, ONNX_RUNTIME, "int8"),
    "timm, bf16": peer(of_timm, EAGER, "bf16"),
    "timm in OpenVINO, bf16": peer(of_timm, OPENVINO, "bf16"),
    "saccade": ours(rewrite=False),
    "saccade, rewritten": ours(),
    "saccade, rewritten and packed": ours(PACKED),
    "saccade in ONNX Runtime": ours(ONNX_RUNTIME),
    "saccade in OpenVINO": ours(OPENVINO),
    "saccade in ONNX Runtime, int8": ours(ONNX_RUNTIME, "int8"),
    "saccade, packed, bf16": ours(PACKED, "bf16"),
    "saccade in OpenVINO, bf16": ours(OPENVINO, "bf16"),
}
FLOAT32 = tuple(name for name in WAYS if "int8" not in name and "bf16" not in name and "compiled" not in name)


def matmul_limit(config: ViTConfig, images: Tensor) -> Run:
    """A product of the size of a ViT-B's MLP with packed weights: what the processor reaches at best."""
    x, weight = torch.randn(1576, 768), torch.randn(3072, 768)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    return lambda images: [torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")]


LIMIT = "matmul limit"
LIMIT_FLOP = 2 * 1576 * 768 * 3072
