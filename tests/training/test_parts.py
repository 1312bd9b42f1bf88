"""Schedule, parameter groups, running mean, config: against closed forms."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import saccade
from saccade.errors import ConfigError
from saccade.training.config import (
    differences,
    from_dict,
    list_recipes,
    parse_override,
    read_recipe,
    resolve,
    with_overrides,
)
from saccade.training.ema import ExponentialMovingAverage
from saccade.training.optimizers import freeze_untrained, make_optimizer, parameter_groups, set_lr
from saccade.training.schedules import lr_factor
from tests.running import train


def test_cosine_with_warm_up() -> None:
    factors = [lr_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx((1 + math.cos(math.pi * 45 / 90)) / 2)
    assert factors[99] < 1e-3
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert lr_factor(1000, 1000, 0.0, final=0.1) == pytest.approx(0.1)


def test_layers_decay_and_vectors_are_not_decayed() -> None:
    net = saccade.create("vit_digits")
    config = resolve(overrides={"optimizer.layer_decay": 0.5, "optimizer.weight_decay": 0.1}).optimizer
    named = {id(p): n for n, p in net.named_parameters()}
    found = {named[id(p)]: g for g in parameter_groups(net, config) for p in g["params"]}
    assert found.keys() == {n for n, _ in net.named_parameters()}
    assert found["head.weight"]["lr_scale"] == 1
    assert found["encoder.norm.weight"]["lr_scale"] == 0.5  # of the last block, as in timm
    assert found["encoder.blocks.3.attn.qkv.weight"]["lr_scale"] == 0.5
    assert found["encoder.blocks.0.mlp.fc1.weight"]["lr_scale"] == 0.5**4
    assert found["encoder.patch_embed.proj.weight"]["lr_scale"] == 0.5**5
    decayed = {n for n, g in found.items() if g["weight_decay"]}
    assert "encoder.blocks.0.attn.qkv.weight" in decayed
    assert "encoder.patch_embed.proj.weight" in decayed
    for name in ("encoder.cls_token", "encoder.blocks.0.norm1.weight", "head.bias"):
        assert name not in decayed
    optimizer = make_optimizer(net, config)
    set_lr(optimizer, 0.2)
    assert {round(g["lr"], 12) for g in optimizer.param_groups} == {round(0.2 * 0.5**i, 12) for i in range(6)}


def test_a_backbone_learns_more_slowly() -> None:
    net = saccade.create("detr_small")
    config = resolve(overrides={"optimizer.backbone_lr": 0.1}).optimizer
    named = {id(p): n for n, p in net.named_parameters()}
    for group in parameter_groups(net, config):
        inside = {named[id(p)].startswith("backbone.") for p in group["params"]}
        assert inside == {group["lr_scale"] == 0.1}


def test_a_backbone_that_does_not_learn_has_no_gradient() -> None:
    net = saccade.create("detr_small")
    freeze_untrained(net, resolve(overrides={"optimizer.backbone_lr": 0.0}).optimizer)
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad != name.startswith("backbone.")


def test_the_running_mean_is_the_closed_form() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    mean = ExponentialMovingAverage(model, decay=0.9)
    expected = 0.0
    for step in range(50):
        nn.init.constant_(model.weight, float(step))
        mean.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert mean.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)
    with mean.swapped_in(model):
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 49
    assert mean.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_the_average_has_the_statistics_of_its_weights() -> None:
    """A batch norm under the average uses averaged statistics, not the last ones; counters are copied."""
    model = nn.BatchNorm1d(1)
    assert model.running_mean is not None
    ema = ExponentialMovingAverage(model, decay=0.9)
    expected = 0.0
    for step in range(30):
        nn.init.constant_(model.running_mean, float(step))
        assert model.num_batches_tracked is not None
        model.num_batches_tracked.fill_(step)
        ema.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert expected < 28
    with ema.swapped_in(model):
        assert model.running_mean.item() == pytest.approx(expected, rel=1e-5)
        assert model.num_batches_tracked.item() == 29
    assert model.running_mean.item() == 29


def test_a_run_with_batch_norm_and_average_keeps_the_averaged_statistics(tmp_path) -> None:
    options = {"model.name": "resnet18_small", "schedule.steps": 3, "ema": 0.9, "preflight": False, "data.check": "off"}
    options |= {"model.options": {"width": 4}, "batch_size": 16}
    run = train(resolve("digits", overrides=options), output=tmp_path / "run").run
    files = run.load(run.steps()[-1]).files
    name = next(n for n in files["model"] if n.endswith("running_var"))
    assert not torch.equal(files["mean"][name], files["model"][name])
    assert torch.equal(load_file(run.model / "model.safetensors")[name], files["mean"][name])


@pytest.mark.parametrize("recipe", list_recipes())
def test_every_recipe_resolves_and_comes_back(recipe: str) -> None:
    config = resolve(recipe)
    assert config.recipe == recipe
    import yaml

    assert from_dict(yaml.safe_load(config.to_yaml())) == config


def test_recipes_are_chosen_by_what_is_asked() -> None:
    assert resolve().recipe == "digits"
    assert resolve(overrides={"data.path": "photos"}).recipe == "scratch"
    assert resolve(overrides={"data.path": "photos", "model.init": "x.pth"}).recipe == "finetune"
    assert read_recipe("deit")["augmentation"]["cutmix"] == 1.0


def test_a_file_lies_over_the_recipe_and_options_over_the_file(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: deit\noptimizer: {lr: 1e-4}\nseed: 3\n")
    config = resolve(file=path, overrides={"seed": 4})
    assert (config.recipe, config.optimizer.lr, config.seed, config.augmentation.mixup) == ("deit", 1e-4, 4, 0.8)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.lrr", 1, "did you mean optimizer.lr"),
        ("batch_size", "many", "a whole number"),
        ("batch_size", 1.5, "a whole number"),
        ("batch_size", 0, "at least 1"),
        ("optimizer.betas", [0.9], "takes 2 values"),
        ("precision", "float8", "one of auto"),
        ("preflight", "yes please", "true or false"),
        ("optimizer", 3, "keys and values"),
        ("ema", 1.0, r"\[0, 1\)"),
        ("optimizer.lr", -1, "positive"),
    ],
)
def test_wrong_values_are_explained(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(overrides={key: value})


def test_overrides_and_differences() -> None:
    assert parse_override("optimizer.betas=[0.9, 0.95]") == ("optimizer.betas", [0.9, 0.95])
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_override("lr")
    one = resolve()
    assert differences(one, with_overrides(one, {"optimizer.lr": 0.5})) == [f"optimizer.lr: {one.optimizer.lr} -> 0.5"]
    assert differences(one, one) == []
    with pytest.raises(ConfigError, match="no recipe"):
        resolve("nothing")
