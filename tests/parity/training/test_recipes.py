"""Recipes that carry a paper's name have the paper's numbers; every recipe file names where its numbers are from."""

import re
from importlib import resources
from typing import Any

import pytest

import saccade
from saccade.data.batching import TrainOrder
from saccade.errors import ConfigError
from saccade.training.config import list_recipes, resolve
from saccade.training.optimizers import freeze_untrained
from saccade.training.schedules import lr_factor

IMAGENET = 1_281_167

# Touvron et al., arXiv 2012.12877, table 9, column DeiT-B (S and Ti as well), and main.py of facebookresearch/deit.
DEIT = {
    "schedule.epochs": 300,
    "batch_size": 1024,
    "peak_lr": 5e-4 * 1024 / 512,
    "optimizer.betas": (0.9, 0.999),
    "optimizer.eps": 1e-8,
    "schedule.shape": "cosine",
    "optimizer.weight_decay": 0.05,
    "classification.label_smoothing": 0.1,
    "model.dropout": 0.0,
    "model.drop_path": 0.1,
    "augmentation.repeats": 3,
    "optimizer.clip_norm": 0.0,
    "augmentation.randaugment": "rand-m9-mstd0.5-inc1",  # 9/0.5
    "augmentation.mixup": 0.8,
    "augmentation.cutmix": 1.0,
    "augmentation.erasing": 0.25,
    "augmentation.color_jitter": 0.0,  # 0.3 or 0.4 in main.py, where create_transform drops it for RandAugment
    "augmentation.crop_scale": (0.08, 1.0),
    "augmentation.flip": 0.5,
    "ema": 0.99996,
}
# He et al., arXiv 2111.06377, table 8. The batch (4,096) and the epochs (800) are for ImageNet; see the file.
MAE = {
    "optimizer.lr": 1.5e-4,
    "optimizer.lr_batch": 256,
    "optimizer.weight_decay": 0.05,
    "optimizer.betas": (0.9, 0.95),
    "schedule.shape": "cosine",
    "schedule.warmup": 40 / 800,
    "schedule.final_lr": 0.0,
    "optimizer.clip_norm": 0.0,
    "augmentation.crop_scale": (0.2, 1.0),
    "augmentation.flip": 0.5,
    "augmentation.randaugment": "",
    "augmentation.color_jitter": 0.0,
    "augmentation.mixup": 0.0,
    "augmentation.cutmix": 0.0,
}
# Carion et al., arXiv 2005.12872, A.4, and main.py of facebookresearch/detr. Schedule: see the file.
DETR = {
    "peak_lr": 1e-4,
    "optimizer.backbone_lr": 1e-5 / 1e-4,
    "optimizer.weight_decay": 1e-4,
    "optimizer.clip_norm": 0.1,
    "optimizer.betas": (0.9, 0.999),
    "augmentation.flip": 0.5,
    "augmentation.crop_scale": None,  # the crops of multi_scale instead
    "detection.multi_scale": True,
    "detection.cost_class": 1.0,
    "detection.cost_bbox": 5.0,
    "detection.cost_giou": 2.0,
    "detection.loss_ce": 1.0,
    "detection.loss_bbox": 5.0,
    "detection.loss_giou": 2.0,
    "detection.eos_coef": 0.1,
    "detection.aux_loss": True,
    "batch_size": 16,  # 8 GPUs with 2 images each, as in the README of that repository
    "ema": 0.0,
}
# Chen et al., arXiv 2106.01548: what the recipe takes from it; the rest is its own, as its file says.
SAM = {
    "optimizer.weight_decay": 0.3,
    "optimizer.clip_norm": 1.0,
    "peak_lr": 3e-3,
    "augmentation.randaugment": "",
    "augmentation.mixup": 0.0,
    "augmentation.cutmix": 0.0,
    "model.dropout": 0.0,
}
OWN = {
    "depth",
    "segment",
    "strips",
    "regression",
    "digits",
    "mae_digits",
    "detect",
    "multilabel",
    "multilabel_finetune",
}  # cite no paper
PAPERS = {"deit": DEIT, "mae": MAE, "detr": DETR, "sam": SAM}


def setting(recipe: str, path: str) -> Any:
    value: Any = resolve(recipe)
    for name in path.split("."):
        value = getattr(value, "options" if value is not None and name == getattr(value, "task", None) else name)
    return value


@pytest.mark.parametrize("recipe", PAPERS)
def test_a_recipe_has_the_numbers_of_its_paper(recipe: str) -> None:
    for path, value in PAPERS[recipe].items():
        expected = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        assert setting(recipe, path) == expected, path


def test_steps_and_learning_rates_of_deit() -> None:
    config = resolve("deit")
    order = TrainOrder(IMAGENET, config.batch_size, 0, config.augmentation.repeats)
    total = order.steps_per_epoch * config.schedule.epochs
    assert (order.steps_per_epoch, total) == (1251, 375_300)
    schedule = config.schedule
    lr = [
        config.peak_lr * lr_factor(step, total, schedule.warmup, schedule.final_lr, schedule.shape)
        for step in (5 * 1251 - 1, total - 1)
    ]
    assert lr == pytest.approx([1e-3, 1e-5], rel=1e-6)  # after 5 epochs of warm-up; --min-lr


@pytest.mark.parametrize("batch_size", [32, 128, 4096])
def test_the_learning_rate_of_mae_follows_the_batch(batch_size: int) -> None:
    config = resolve("mae", overrides={"batch_size": batch_size})
    assert config.peak_lr == pytest.approx(1.5e-4 * batch_size / 256)
    assert resolve("scratch", overrides={"batch_size": batch_size}).peak_lr == 1e-3


def test_detr_trains_what_the_official_code_trains() -> None:
    """Official: `if "layer2" not in name and "layer3" not in name and "layer4" not in name: requires_grad_(False)`."""
    options = {"encoder_depth": 1, "decoder_depth": 1, "backbone_config.width": 4}
    net = saccade.create("detr_r50", options=options)
    freeze_untrained(net, resolve("detr").optimizer)
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    backbone = {name for name, _ in net.named_parameters() if name.startswith("backbone.")}
    assert frozen == {name for name in backbone if re.match(r"backbone\.(stem|stages\.0)\.", name)}
    assert len(backbone - frozen) == 13 + 19 + 10  # convolutions of layer2, layer3, layer4 in a ResNet-50
    wrong = resolve("detr", overrides={"optimizer.frozen": ["backbone.stage"]}).optimizer
    with pytest.raises(ConfigError, match=r"no weights at 'backbone\.stage'"):
        freeze_untrained(net, wrong)


@pytest.mark.parametrize("recipe", list_recipes())
def test_a_recipe_names_its_source(recipe: str) -> None:
    text = resources.files("saccade").joinpath("recipes", f"{recipe}.yaml").read_text(encoding="utf-8")
    comment = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    assert "our own" in comment or re.search(r"(table|A\.|section) ?\d", comment)
    assert ("arXiv" in comment) == (recipe not in OWN)
