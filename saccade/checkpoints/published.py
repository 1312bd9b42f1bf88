"""Where published weights of the named models are, under which licence, and which format opens them. Loads no torch.

A row names one checkpoint of exactly that architecture and size. Others of the same format open as well: fine-tuned
ones, other classes, other resolutions.
"""

from dataclasses import dataclass

APACHE, BSD, MIT, CC_BY = "Apache-2.0", "BSD-3-Clause", "MIT", "CC-BY-4.0"
# What Meta's repository says of its files, and what the cards of the same weights on the hub say.
MAE = "CC-BY-NC-4.0 (Meta's files), Apache-2.0 (hub)"
CLIP = "MIT (OpenAI's code); none stated for the weights"


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        source: `hub:ORG/NAME`, which every command takes, or the name of a file and who publishes it.
        format: module in `saccade.checkpoints.formats` that opens it.
        licence: of the weights, as their publisher states it.
    """

    source: str
    format: str
    licence: str


def _timm(name: str, format: str, licence: str = APACHE) -> Published:
    return Published(f"hub:timm/{name}", format, licence)


def _dinov3(name: str) -> Published:
    return Published(f"hub:facebook/dinov3-{name}-pretrain-lvd1689m", "huggingface_dinov3", "DINOv3 License")


def _depth_anything(size: str, licence: str) -> Published:
    return Published(f"hub:depth-anything/Depth-Anything-V2-{size}-hf", "huggingface_depth_anything", licence)


def _siglip(name: str) -> Published:
    return Published(f"hub:google/{name}", "huggingface_siglip", APACHE)


PUBLISHED: dict[str, Published] = {
    "vit_ti16": _timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "timm_vit"),
    "vit_s16": _timm("vit_small_patch16_224.augreg_in21k_ft_in1k", "timm_vit"),
    "vit_s32": _timm("vit_small_patch32_224.augreg_in21k_ft_in1k", "timm_vit"),
    "vit_b8": _timm("vit_base_patch8_224.augreg_in21k_ft_in1k", "timm_vit"),
    "vit_b16": Published("hub:google/vit-base-patch16-224", "huggingface_vit", APACHE),
    "vit_b32": _timm("vit_base_patch32_224.augreg_in21k_ft_in1k", "timm_vit"),
    "vit_l16": Published("hub:google/vit-large-patch16-224", "huggingface_vit", APACHE),
    "vit_l32": Published("hub:google/vit-large-patch32-384", "huggingface_vit", APACHE),
    "vit_h14": Published("hub:google/vit-huge-patch14-224-in21k", "huggingface_vit", APACHE),
    "vit_g14": _timm("vit_giant_patch14_clip_224.laion2b", "timm_vit"),
    "vit_bigg14": _timm("vit_gigantic_patch14_clip_224.laion2b", "timm_vit"),
    "dinov2_s14": Published("hub:facebook/dinov2-small", "huggingface_dinov2", APACHE),
    "dinov2_b14": Published("hub:facebook/dinov2-base", "huggingface_dinov2", APACHE),
    "dinov2_l14": Published("hub:facebook/dinov2-large", "huggingface_dinov2", APACHE),
    "dinov2_g14": Published("hub:facebook/dinov2-giant", "huggingface_dinov2", APACHE),
    "dinov3_s16": _dinov3("vits16"),
    "dinov3_s16plus": _dinov3("vits16plus"),
    "dinov3_b16": _dinov3("vitb16"),
    "dinov3_l16": _dinov3("vitl16"),
    "dinov3_h16plus": _dinov3("vith16plus"),
    "dinov3_7b16": _dinov3("vit7b16"),
    "deit_ti16": Published("hub:facebook/deit-tiny-distilled-patch16-224", "huggingface_deit", APACHE),
    "deit_s16": Published("hub:facebook/deit-small-distilled-patch16-224", "huggingface_deit", APACHE),
    "deit_b16": Published("hub:facebook/deit-base-distilled-patch16-224", "huggingface_deit", APACHE),
    "hybrid_r_ti16": _timm("vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k", "timm_hybrid"),
    "hybrid_r26_s32": _timm("vit_small_r26_s32_224.augreg_in21k_ft_in1k", "timm_hybrid"),
    "hybrid_r50_b16": _timm("vit_base_r50_s16_384.orig_in21k_ft_in1k", "timm_hybrid"),
    "hybrid_r50_l32": _timm("vit_large_r50_s32_224.augreg_in21k_ft_in1k", "timm_hybrid"),
    "mae_b16": Published("hub:facebook/vit-mae-base", "huggingface_mae", MAE),
    "mae_l16": Published("hub:facebook/vit-mae-large", "huggingface_mae", MAE),
    "mae_h14": Published("hub:facebook/vit-mae-huge", "huggingface_mae", MAE),
    "dpt_l": Published("hub:Intel/dpt-large", "huggingface_dpt", APACHE),
    "dpt_l_seg": Published("hub:Intel/dpt-large-ade", "huggingface_dpt", APACHE),
    "dpt_hybrid": Published("hub:Intel/dpt-hybrid-midas", "huggingface_dpt", APACHE),
    "dpt_hybrid_seg": Published("dpt_hybrid-ade20k-53898607.pt of github.com/isl-org/DPT", "isl_dpt", MIT),
    "depth_anything_v2_s": _depth_anything("Small", APACHE),
    "depth_anything_v2_b": _depth_anything("Base", "CC-BY-NC-4.0"),
    "depth_anything_v2_l": _depth_anything("Large", "CC-BY-NC-4.0"),
    "detr_r50": Published("hub:facebook/detr-resnet-50", "huggingface_detr", APACHE),
    "detr_r50_dc5": Published("hub:facebook/detr-resnet-50-dc5", "huggingface_detr", APACHE),
    "detr_r101": Published("hub:facebook/detr-resnet-101", "huggingface_detr", APACHE),
    "detr_r101_dc5": Published("hub:facebook/detr-resnet-101-dc5", "huggingface_detr", APACHE),
    "detr_r50_panoptic": Published("hub:facebook/detr-resnet-50-panoptic", "huggingface_detr", APACHE),
    "perceiver_fourier": Published("hub:deepmind/vision-perceiver-fourier", "huggingface_perceiver", APACHE),
    "perceiver_learned": Published("hub:deepmind/vision-perceiver-learned", "huggingface_perceiver", APACHE),
    "perceiver_conv": Published("hub:deepmind/vision-perceiver-conv", "huggingface_perceiver", APACHE),
    "perceiver_text": Published("hub:deepmind/language-perceiver", "huggingface_perceiver_text", APACHE),
    "bert_base": Published("hub:google-bert/bert-base-uncased", "huggingface_bert", APACHE),
    "bert_large": Published("hub:google-bert/bert-large-uncased", "huggingface_bert", APACHE),
    "seq2seq_base": Published("hub:Helsinki-NLP/opus-mt-en-de", "huggingface_marian", CC_BY),
    "clip_vit_b32": Published("hub:openai/clip-vit-base-patch32", "huggingface_clip", CLIP),
    "clip_vit_b16": Published("hub:openai/clip-vit-base-patch16", "huggingface_clip", CLIP),
    "clip_vit_l14": Published("hub:openai/clip-vit-large-patch14", "huggingface_clip", CLIP),
    "clip_vit_l14_336": Published("hub:openai/clip-vit-large-patch14-336", "huggingface_clip", CLIP),
    "clip_r50": Published("RN50.pt of github.com/openai/CLIP", "openai_clip", CLIP),
    "clip_r101": Published("RN101.pt of github.com/openai/CLIP", "openai_clip", CLIP),
    "siglip_b16": _siglip("siglip-base-patch16-224"),
    "siglip_l16": _siglip("siglip-large-patch16-256"),
    "siglip_so14": _siglip("siglip-so400m-patch14-384"),
    "siglip2_b32": _siglip("siglip2-base-patch32-256"),
    "siglip2_b16": _siglip("siglip2-base-patch16-224"),
    "siglip2_l16": _siglip("siglip2-large-patch16-256"),
    "siglip2_so14": _siglip("siglip2-so400m-patch14-224"),
    "siglip2_so16": _siglip("siglip2-so400m-patch16-256"),
    "siglip2_g16": _siglip("siglip2-giant-opt-patch16-256"),
    "alexnet": Published("alexnet-owt-7be5be79.pth of torchvision", "torchvision_alexnet", BSD),
    "vgg11": _timm("vgg11.tv_in1k", "timm_vgg", BSD),
    "vgg11_bn": _timm("vgg11_bn.tv_in1k", "timm_vgg", BSD),
    "vgg13": _timm("vgg13.tv_in1k", "timm_vgg", BSD),
    "vgg13_bn": _timm("vgg13_bn.tv_in1k", "timm_vgg", BSD),
    "vgg16": _timm("vgg16.tv_in1k", "timm_vgg", BSD),
    "vgg16_bn": _timm("vgg16_bn.tv_in1k", "timm_vgg", BSD),
    "vgg19": _timm("vgg19.tv_in1k", "timm_vgg", BSD),
    "vgg19_bn": _timm("vgg19_bn.tv_in1k", "timm_vgg", BSD),
    "resnet18": _timm("resnet18.tv_in1k", "torchvision_resnet", BSD),
    "resnet34": _timm("resnet34.tv_in1k", "torchvision_resnet", BSD),
    "resnet50": _timm("resnet50.tv_in1k", "torchvision_resnet", BSD),
    "resnet101": _timm("resnet101.tv_in1k", "torchvision_resnet", BSD),
    "resnet152": _timm("resnet152.tv_in1k", "torchvision_resnet", BSD),
    "wide_resnet50_2": _timm("wide_resnet50_2.tv_in1k", "torchvision_resnet", BSD),
    "wide_resnet101_2": _timm("wide_resnet101_2.tv_in1k", "torchvision_resnet", BSD),
    "bit_r50x1": _timm("resnetv2_50x1_bit.goog_in21k_ft_in1k", "timm_bit"),
    "bit_r50x3": _timm("resnetv2_50x3_bit.goog_in21k_ft_in1k", "timm_bit"),
    "bit_r101x1": _timm("resnetv2_101x1_bit.goog_in21k_ft_in1k", "timm_bit"),
    "bit_r101x3": _timm("resnetv2_101x3_bit.goog_in21k_ft_in1k", "timm_bit"),
    "bit_r152x2": _timm("resnetv2_152x2_bit.goog_in21k_ft_in1k", "timm_bit"),
    "bit_r152x4": _timm("resnetv2_152x4_bit.goog_in21k_ft_in1k", "timm_bit"),
    "convnext_t": _timm("convnext_tiny.fb_in1k", "timm_convnext"),
    "convnext_s": _timm("convnext_small.fb_in1k", "timm_convnext"),
    "convnext_b": _timm("convnext_base.fb_in1k", "timm_convnext"),
    "convnext_l": _timm("convnext_large.fb_in1k", "timm_convnext"),
    "convmixer_768_32": _timm("convmixer_768_32.in1k", "timm_convmixer", MIT),
    "convmixer_1536_20": _timm("convmixer_1536_20.in1k", "timm_convmixer", MIT),
}
