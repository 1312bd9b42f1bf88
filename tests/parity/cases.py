"""Official models of other projects with random weights, each saved in its own format: what parity is measured on.

`tests/parity/test_every_format.py` asserts the tolerance, `benchmarks/models_table.py` writes the differences down.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PLAIN_VIT, OTHERS = 1e-5, 1e-4  # largest difference, of the output's scale

SMALL_VIT: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SMALL_TIMM: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4}
HEADS = {"block.num_heads": 4}


@dataclass(frozen=True)
class Case:
    """One official model.

    Attributes:
        name: of the case.
        architecture, format: of this package, and the module in `saccade.checkpoints.formats`.
        build: the official model with fresh weights.
        size: (H, W) of the images, another than the usual one where the architecture allows it.
        file: under which name it is saved; "" for a Hugging Face folder.
        channels: of the images.
        tolerance: of the output's scale.
        options: what the file cannot tell.
        published: (pattern of a name as the library writes it today, its replacement in published files), where they
            differ.
        output: the official model and images -> the tensor to compare.
    """

    name: str
    architecture: str
    format: str
    build: Callable[[], nn.Module]
    size: tuple[int, int] = (32, 32)
    file: str = "model.safetensors"
    channels: int = 3
    tolerance: float = OTHERS
    options: dict[str, Any] = field(default_factory=dict)
    published: tuple[str, str] | None = None
    output: Callable[[Any, Tensor], Tensor] = lambda model, images: model(images)

    def save(self, model: Any, folder: Path) -> Path:
        """The file or folder as the official project writes it."""
        from safetensors.torch import load_file, save_file

        if not self.file:
            model.save_pretrained(folder)
            if self.published:
                weights = load_file(folder / "model.safetensors")
                renamed = {re.sub(*self.published, name): tensor for name, tensor in weights.items()}
                save_file(renamed, folder / "model.safetensors")
            return folder
        if self.file.endswith(".safetensors"):
            save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / self.file)
        else:
            torch.save({"model": model.state_dict()}, folder / self.file)
        return folder / self.file

    def difference(self, folder: Path) -> float:
        """Build, save, load here, run both on one batch: the largest difference over the output's scale."""
        from saccade.checkpoints.loading import load_model

        torch.manual_seed(0)
        official = randomised(self.build())
        path = self.save(official, folder)
        loaded = load_model(path, image_size=self.size if self.file else None, options=self.options)
        assert loaded.architecture == self.architecture
        assert not loaded.report.new
        assert not loaded.report.unused
        images = torch.randn(2, self.channels, *self.size)
        with torch.no_grad():
            theirs, ours = self.output(official, images), loaded.model(images)
        ours = ours[0] if isinstance(ours, tuple) else ours
        assert theirs.shape == ours.shape
        assert theirs.abs().max() > 1e-3, "an output of zeros says nothing"
        return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def randomised(model: nn.Module) -> nn.Module:
    """Vectors and statistics random, so that nothing that is 0 or 1 at the start hides a mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 or parameter.abs().max() < 1e-3:
                parameter.add_(0.1 * noise)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.8 + 0.4 * torch.rand(buffer.shape, generator=generator))
    return model.eval()


def logits(model: Any, images: Tensor) -> Tensor:
    return model(images).logits


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, **options)

    return build


def timm_vit(kind: str = "VisionTransformer", module: str = "vision_transformer", **options: Any):
    def build() -> nn.Module:
        from importlib import import_module

        return getattr(import_module(f"timm.models.{module}"), kind)(**{**SMALL_TIMM, "num_classes": 7, **options})

    return build


def timm_hybrid(layers: tuple[int, ...], image_size: int) -> Callable[[], nn.Module]:
    """A small ViT behind timm's own stem of these depths."""

    def build() -> nn.Module:
        from timm.models import vision_transformer_hybrid as hybrid

        backbone = hybrid._resnetv2(layers)
        arguments = {"embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 7}
        return hybrid.VisionTransformer(
            img_size=image_size,
            patch_size=1 if layers else 2,
            embed_layer=lambda **kw: hybrid.HybridEmbed(backbone, **kw),
            **arguments,
        )

    return build


def torchvision_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision.models

        return getattr(torchvision.models, name)(weights=None, **options)

    return build


def hugging(model: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        settings = getattr(transformers, config)(**options)
        return getattr(transformers, model)(settings)

    return build


def small_huggingface_hybrid() -> nn.Module:
    # Its positions are those of the stem's map, 8 x 8 for images of 64 x 64 pixels.
    return huggingface_hybrid([1, 2], {**SMALL_VIT, "image_size": 64, "patch_size": 8})


def real_huggingface_hybrid() -> nn.Module:
    width = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    return huggingface_hybrid([3, 4, 9], {**width, "image_size": 224, "patch_size": 16})


def huggingface_hybrid(depths: list[int], vit: dict[str, Any]) -> nn.Module:
    """The library has no hybrid any more; its BiT backbone in front of its ViT is one, under the names it had."""
    import transformers

    widths = [256 * 2**stage for stage in range(len(depths))]

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = transformers.BitBackbone(
                transformers.BitConfig(
                    layer_type="bottleneck", depths=depths, hidden_sizes=widths, global_padding="same",
                    embedding_dynamic_padding=True, out_features=[f"stage{len(depths)}"],
                )
            )  # fmt: skip
            self.projection = nn.Conv2d(widths[-1], vit["hidden_size"], 1)

        def forward(self, images: Tensor, **options: Any) -> Tensor:
            return self.projection(self.backbone(images).feature_maps[-1]).flatten(2).transpose(1, 2)

    config = transformers.ViTConfig(**vit, num_labels=5)
    model = transformers.ViTForImageClassification(config)
    model.vit.embeddings.patch_embeddings = Patches()
    return model


def small_torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 2, 2, 128, 96, num_classes=5, representation_size=24)


def small_torchvision_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(16, 24, 1), CNBlockConfig(24, 40, 2), CNBlockConfig(40, None, 1)], num_classes=5)


def small_convmixer() -> nn.Module:
    from timm.models.convmixer import ConvMixer

    return ConvMixer(24, 3, kernel_size=5, patch_size=4, num_classes=6, in_chans=2)


def small_bit() -> nn.Module:
    from timm.layers import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    conv = partial(StdConv2d, eps=1e-8)
    return ResNetV2([1, 2, 1, 1], num_classes=5, in_chans=4, stem_type="fixed", conv_layer=conv)


def meta_mae(vit: dict[str, Any] = SMALL_TIMM, width: int = 32) -> nn.Module:
    """No package holds Meta's code: timm's blocks under Meta's names, put together as the paper says."""
    from timm.models.vision_transformer import Block, VisionTransformer

    class MetaMAE(VisionTransformer):
        def __init__(self):
            super().__init__(**vit, num_classes=0)
            self.mask_token = nn.Parameter(torch.randn(1, 1, width))
            self.decoder_embed = nn.Linear(self.embed_dim, width)
            self.decoder_pos_embed = nn.Parameter(torch.randn(1, self.pos_embed.shape[1], width))
            self.decoder_blocks = nn.ModuleList(
                Block(width, 16, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)) for _ in range(2)
            )
            self.decoder_norm = nn.LayerNorm(width, 1e-6)
            self.decoder_pred = nn.Linear(width, vit["patch_size"] ** 2 * 3)

        def forward(self, images: Tensor) -> Tensor:
            x = self.patch_embed(images) + self.pos_embed[:, 1:]
            count = x.shape[1]
            order = even_noise(images, count).argsort(dim=1)
            visible = torch.stack([patches[index[: count // 4]] for patches, index in zip(x, order)])
            first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
            x = self.decoder_embed(self.norm(self.blocks(torch.cat((first, visible), dim=1))))
            shuffled = torch.cat((x[:, 1:], self.mask_token.expand(len(x), count - count // 4, -1)), dim=1)
            patches = torch.stack([tokens[index.argsort()] for tokens, index in zip(shuffled, order)])
            x = torch.cat((x[:, :1], patches), dim=1) + self.decoder_pos_embed
            for block in self.decoder_blocks:
                x = block(x)
            return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    return MetaMAE()


def real_meta_mae() -> nn.Module:
    return meta_mae({"img_size": 224, "patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3}, width=128)


def even_noise(images: Tensor, count: int) -> Tensor:
    """The order in which this package's masked autoencoder hides so many patches in evaluation."""
    return (torch.arange(float(count)) * 0.6180339887 % 1).expand(len(images), -1)


def pooled(model: Any, images: Tensor) -> Tensor:
    return model(images).pooler_output


def painted(model: Any, images: Tensor) -> Tensor:
    count = (model.config.image_size // model.config.patch_size) ** 2
    return model(images, noise=even_noise(images, count)).logits


VIT = ("ViTForImageClassification", "ViTConfig")
PUBLISHED_BIT = (r"(stages\.\d+)\.encoder\.layer", r"\1.layers")
REAL, WIDE = (224, 224), (96, 128)
NARROW = {"hidden_sizes": [32, 64, 128, 256], "depths": [1, 2, 1, 1], "num_labels": 5}
RESNET = {"hidden_sizes": [256, 512, 1024, 2048], "depths": [1, 2, 1, 1], "num_labels": 5}

PERCEIVER = {
    "num_latents": 8, "d_latents": 32, "num_blocks": 2, "num_self_attends_per_block": 2, "num_self_attention_heads": 4,
    "num_cross_attention_heads": 1, "num_labels": 5,
}  # fmt: skip
HUGGING_PERCEIVER = "PerceiverForImageClassification"

CASES = [
    # ------------------------------------------------------------------------------------------------------ Perceiver
    Case(
        "Fourier", "perceiver", "huggingface_perceiver",
        hugging(f"{HUGGING_PERCEIVER}Fourier", "PerceiverConfig", d_model=261, **PERCEIVER), WIDE, "", output=logits,
    ),
    Case(
        "learned", "perceiver", "huggingface_perceiver",
        hugging(f"{HUGGING_PERCEIVER}Learned", "PerceiverConfig", d_model=512, image_size=16, **PERCEIVER), (16, 16),
        file="", output=logits,
    ),
    Case(
        "convolutional", "perceiver", "huggingface_perceiver",
        hugging(f"{HUGGING_PERCEIVER}ConvProcessing", "PerceiverConfig", d_model=322, **PERCEIVER), WIDE, "",
        output=logits,
    ),
    # ------------------------------------------------------------------------------------------------------------ ViT
    Case("small", "vit", "timm_vit", timm_vit(), options=HEADS, tolerance=PLAIN_VIT),
    Case("Ti/16", "vit", "timm_vit", timm_model("vit_tiny_patch16_224"), REAL, tolerance=PLAIN_VIT),
    Case("DeiT-Ti/16", "vit", "timm_vit", timm_model("deit_tiny_patch16_224"), REAL, "d.pth", tolerance=PLAIN_VIT),
    Case("small", "vit", "huggingface_vit", hugging(*VIT, **SMALL_VIT), file="", output=logits, tolerance=PLAIN_VIT),
    Case(
        "Ti/16", "vit", "huggingface_vit",
        hugging(*VIT, hidden_size=192, num_attention_heads=3, intermediate_size=768), REAL, "", output=logits,
        tolerance=PLAIN_VIT,
    ),
    Case(
        "no head", "vit", "huggingface_vit", hugging("ViTModel", "ViTConfig", **SMALL_VIT), file="", output=pooled,
        tolerance=PLAIN_VIT,
    ),
    Case(
        "MSN", "vit", "huggingface_vit", hugging("ViTMSNForImageClassification", "ViTMSNConfig", **SMALL_VIT),
        file="", output=logits, tolerance=PLAIN_VIT,
    ),
    Case("small", "vit", "torchvision_vit", small_torchvision_vit, file="vit.pth", tolerance=PLAIN_VIT),
    Case("B/32", "vit", "torchvision_vit", torchvision_model("vit_b_32"), REAL, "v.pth", tolerance=PLAIN_VIT),
    # ---------------------------------------------------------------------------------------------------------- DINOv2
    Case(
        "classifier", "vit", "huggingface_dinov2",
        hugging("Dinov2ForImageClassification", "Dinov2Config", num_labels=5, **SMALL_VIT, layerscale_value=0.7),
        file="", output=logits,
    ),
    Case(
        "gated MLP", "vit", "huggingface_dinov2",
        hugging("Dinov2ForImageClassification", "Dinov2Config", use_swiglu_ffn=True, **SMALL_VIT), file="",
        output=logits,
    ),
    Case(
        "registers", "vit", "huggingface_dinov2",
        hugging("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", **SMALL_VIT), file="",
        output=logits,
    ),
    Case("no head", "vit", "huggingface_dinov2", hugging("Dinov2Model", "Dinov2Config", **SMALL_VIT), file="",
         output=pooled),
    Case(
        "S/14", "vit", "huggingface_dinov2",
        hugging("Dinov2ForImageClassification", "Dinov2Config", hidden_size=384, num_attention_heads=6, patch_size=14),
        REAL, "", output=logits,
    ),
    # ------------------------------------------------------------------------------------------------------------ DeiT
    Case("small", "deit", "timm_deit", timm_vit("VisionTransformerDistilled", "deit"), options=HEADS),
    Case("Ti/16", "deit", "timm_deit", timm_model("deit_tiny_distilled_patch16_224"), REAL, "deit.pth"),
    Case(
        "small", "deit", "huggingface_deit",
        hugging("DeiTForImageClassificationWithTeacher", "DeiTConfig", num_labels=5, **SMALL_VIT), file="",
        output=logits,
    ),
    Case(
        "one head", "vit", "huggingface_vit",
        hugging("DeiTForImageClassification", "DeiTConfig", num_labels=5, **SMALL_VIT), file="", output=logits,
    ),
    Case(
        "Ti/16", "deit", "huggingface_deit",
        hugging(
            "DeiTForImageClassificationWithTeacher", "DeiTConfig", hidden_size=192, num_attention_heads=3,
            intermediate_size=768,
        ),
        REAL, "", output=logits,
    ),
    # ---------------------------------------------------------------------------------------------------------- hybrid
    Case("small", "hybrid", "timm_hybrid", timm_hybrid((1, 2), 64), (64, 64), options=HEADS),
    Case("no stages", "hybrid", "timm_hybrid", timm_hybrid((), 64), (64, 64), options=HEADS),
    Case("R26+S/32", "hybrid", "timm_hybrid", timm_model("vit_small_r26_s32_224"), REAL),
    Case("R+Ti/16", "hybrid", "timm_hybrid", timm_model("vit_tiny_r_s16_p8_224"), REAL),
    Case("small", "hybrid", "huggingface_hybrid", small_huggingface_hybrid, (64, 64), "", output=logits,
         published=PUBLISHED_BIT),
    Case("R50+Ti/16", "hybrid", "huggingface_hybrid", real_huggingface_hybrid, REAL, "", output=logits,
         published=PUBLISHED_BIT),
    # ------------------------------------------------------------------------------------------------------------- MAE
    Case("small", "mae", "facebook_mae", meta_mae, file="mae_full.pth", options=HEADS),
    Case("Ti/16", "mae", "facebook_mae", real_meta_mae, REAL, "mae_full.pth"),
    Case(
        "Ti/16", "mae", "huggingface_mae",
        hugging("ViTMAEForPreTraining", "ViTMAEConfig", hidden_size=192, num_attention_heads=3, intermediate_size=768),
        REAL, "", output=painted,
    ),
    Case(
        "small", "mae", "huggingface_mae",
        hugging(
            "ViTMAEForPreTraining", "ViTMAEConfig", decoder_hidden_size=32, decoder_num_hidden_layers=2,
            decoder_num_attention_heads=2, decoder_intermediate_size=64, **SMALL_VIT,
        ),
        file="", output=painted,
    ),
    # ---------------------------------------------------------------------------------------------------------- ResNet
    Case("18", "resnet", "torchvision_resnet", torchvision_model("resnet18"), WIDE, "r.pth"),
    Case("50", "resnet", "torchvision_resnet", torchvision_model("resnet50"), REAL, "r.pth"),
    Case("wide 50-2", "resnet", "torchvision_resnet", torchvision_model("wide_resnet50_2"), WIDE, "r.pth"),
    Case("50, timm", "resnet", "torchvision_resnet", timm_model("resnet50", in_chans=4), WIDE, channels=4),
    Case(
        "bottlenecks", "resnet", "huggingface_resnet",
        hugging("ResNetForImageClassification", "ResNetConfig", **RESNET), WIDE, "", output=logits,
    ),
    Case(
        "18", "resnet", "huggingface_resnet",
        hugging(
            "ResNetForImageClassification", "ResNetConfig", layer_type="basic", depths=[2, 2, 2, 2],
            hidden_sizes=[64, 128, 256, 512],
        ),
        REAL, "", output=logits,
    ),
    # ------------------------------------------------------------------------------------------------- AlexNet and VGG
    Case("AlexNet", "alexnet", "torchvision_alexnet", torchvision_model("alexnet"), REAL, "a.pth"),
    Case("11", "vgg", "torchvision_vgg", torchvision_model("vgg11"), REAL, "v.pth"),
    Case("16, batch norm", "vgg", "torchvision_vgg", torchvision_model("vgg16_bn", num_classes=7), WIDE, "v.pth"),
    Case("11", "vgg", "timm_vgg", timm_model("vgg11_bn", num_classes=5), REAL),
    # -------------------------------------------------------------------------------------------------------- ConvNeXt
    Case("small", "convnext", "torchvision_convnext", small_torchvision_convnext, WIDE, "c.pth"),
    Case("T", "convnext", "torchvision_convnext", torchvision_model("convnext_tiny"), REAL, "c.pth"),
    Case("small", "convnext", "timm_convnext",
         timm_model("convnext_atto", conv_mlp=False, depths=(1, 2, 1, 1), in_chans=1), WIDE, channels=1),
    Case("T", "convnext", "timm_convnext", timm_model("convnext_tiny"), REAL),
    Case(
        "small", "convnext", "huggingface_convnext",
        hugging("ConvNextForImageClassification", "ConvNextConfig", **NARROW), WIDE, "", output=logits,
    ),
    Case("T", "convnext", "huggingface_convnext", hugging("ConvNextForImageClassification", "ConvNextConfig"), REAL,
         "", output=logits),
    # ------------------------------------------------------------------------------------------------------- ConvMixer
    Case("small", "convmixer", "timm_convmixer", small_convmixer, (32, 48), channels=2),
    Case("768/32", "convmixer", "timm_convmixer", timm_model("convmixer_768_32"), (112, 112)),
    # ------------------------------------------------------------------------------------------------------------- BiT
    Case("small", "bit", "timm_bit", small_bit, WIDE, channels=4),
    Case("R50x1", "bit", "timm_bit", timm_model("resnetv2_50x1_bit", num_classes=1000), REAL),
    Case(
        "small", "bit", "huggingface_bit",
        hugging("BitForImageClassification", "BitConfig", depths=[1, 2, 1, 1], num_labels=5), WIDE, "", output=logits,
    ),
    Case("R50x1", "bit", "huggingface_bit", hugging("BitForImageClassification", "BitConfig"), REAL, "",
         output=logits),
    # ------------------------------------------------------------------------------------------------- DETR and DPT
    Case(
        "small", "detr", "huggingface_detr",
        hugging(
            "DetrForObjectDetection", "DetrConfig", d_model=32, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=7,
            use_timm_backbone=True, backbone="resnet18", use_pretrained_backbone=False,
        ),
        (64, 96), "", output=logits,
    ),
    Case(
        "small", "dpt", "huggingface_dpt",
        hugging(
            "DPTForSemanticSegmentation", "DPTConfig", hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=64, image_size=64, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16, 24, 32, 48],
            fusion_hidden_size=32, num_labels=5,
        ),
        (64, 64), "", output=logits,
    ),
]  # fmt: skip

# name -> classes of transformers: the model, its config
HUGGING = {
    "vit": ("ViTForImageClassification", "ViTConfig"),
    "msn": ("ViTMSNForImageClassification", "ViTMSNConfig"),
    "deit": ("DeiTForImageClassification", "DeiTConfig"),
    "deit with teacher": ("DeiTForImageClassificationWithTeacher", "DeiTConfig"),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config"),
    "dinov2 with registers": ("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig"),
}
