"""The tables of docs/checkpoints.md: formats with the official models that the tests compare, and what is read around
the weights."""

from types import ModuleType

from saccade.checkpoints.formats import FORMATS
from tests.checkpoints.test_processors import EVERY_SIZE
from tests.checkpoints.test_reading import PREFIXES, VALUES, WRAPPED
from tests.opens.tables import Table
from tests.parity.cases import CASES

PAGE = "checkpoints.md"
# Formats without official models among the cases: files, what their own tests open, and these tests.
OTHERS = {
    "google_vit": (
        ".npz",
        "ViT of the first files and of later Flax, big_vision with layers stacked or apart",
        "test_google",
    ),
    "google_hybrid": (".npz", "hybrids, group norms that broadcast", "test_google"),
    "google_bit": (".npz", "BiT-S and BiT-M", "test_google"),
    "facebook_detr": (".pth", "DETR with R50 and R101, DC5, panoptic", "test_detr"),
    "facebook_dino": (
        ".pth",
        "DINOv2, with registers, the giant, the teacher of a training checkpoint",
        "test_other_sizes",
    ),
    "facebook_dinov3": (".pth", "ViTs of DINOv3, gated ones and that without biases too", "test_dinov3"),
    "facebook_convnext": (".pth", "ConvNeXt, and that of DINOv3", "test_dinov3"),
    "huggingface_dinov3": ("folder", "ViTs of DINOv3, gated ones and that without biases too", "test_dinov3"),
    "huggingface_dinov3_convnext": ("folder", "ConvNeXt of DINOv3", "test_dinov3"),
    "timm_dinov3": (".safetensors", "DINOv3 S/16, S+/16, with and without biases", "test_dinov3"),
    "isl_dpt": (".pth, .pt", "DPT for depth and segmentation, on a ViT or a hybrid", "test_dpt"),
    "depthanything": (".pth", "V1 and V2, relative and metric", "test_depth_anything"),
    "huggingface_depth_anything": ("folder", "V1 and V2, relative and metric", "test_depth_anything"),
    "openai_clip": (".pt (TorchScript too)", "CLIP of OpenAI and open_clip, on a ViT or a ResNet", "test_clip"),
    "huggingface_clip": ("folder", "CLIP", "test_clip"),
    "huggingface_siglip": ("folder", "SigLIP, and NaFlex at several aspect ratios", "test_siglip"),
    "open_clip_siglip": (".safetensors", "SigLIP and SigLIP 2, with and without the JSON", "test_siglip"),
    "huggingface_bert": ("folder", "BERT and its heads", "test_bert"),
    "huggingface_marian": ("folder", "Marian's translators", "test_seq2seq"),
    "huggingface_perceiver_text": ("folder", "Perceiver IO of bytes", "test_perceiver_text"),
}


def key(publisher: ModuleType) -> str:
    """The name of a format's module."""
    return publisher.__name__.rpartition(".")[2]


def format_rows() -> list[tuple[str, ...]]:
    """(format, files, official models that the tests compare) of every format."""
    rows = []
    for publisher in sorted(FORMATS, key=lambda p: p.NAME.lower()):
        cases = [case for case in CASES if case.format == key(publisher)]
        if cases:
            files = ", ".join(sorted({f".{case.file.rpartition('.')[2]}" if case.file else "folder" for case in cases}))
            rows.append((publisher.NAME, files, "; ".join(case.name for case in cases)))
        else:
            rows.append((publisher.NAME, *OTHERS[key(publisher)][:2]))
    return rows


def around_rows() -> list[tuple[str, ...]]:
    """(what is in a file or beside it, the forms that the tests write)."""
    forms = {
        "weights in a wrapper": WRAPPED,
        "prefixes of names": [f"`{prefix}`" for prefix in PREFIXES],
        "values stored with the weights": VALUES,
        "sizes and switches of a Hugging Face processor": EVERY_SIZE,
    }
    return [(what, "; ".join(names)) for what, names in forms.items()]


def tables() -> list[Table]:
    return [
        Table(PAGE, "formats", ("format", "files", "compared with official models"), format_rows()),
        Table(PAGE, "around the weights", ("in the file or next to it", "forms"), around_rows()),
    ]
