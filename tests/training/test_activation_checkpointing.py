"""Activation checkpointing: the bits of a step without it, less memory, refused where there is nothing to recompute."""

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import saccade
from saccade.data.own import OwnDataset
from saccade.engine.setup import TrainingSetup, own_model
from saccade.errors import ConfigError
from saccade.models.cost import measure_cost
from saccade.models.recomputation import recomputed_parts
from saccade.tasks.classification.task import ClassificationTask
from saccade.training.activation_checkpointing import recomputed
from saccade.training.config import resolve

# One of each kind of part; with everything that draws random numbers or has running statistics.
MODELS = {
    "vit_digits": {"drop_path": 0.2, "block.dropout": 0.2, "block.attention_dropout": 0.2},
    "resnet18_small": {"width": 4},
    "convmixer_256_8": {"width": 16, "depth": 2},
    "detr_small": {"block.dropout": 0.2},
    "dpt_small": {},
    "seq2seq_small": {},
    "perceiver_digits": {},
}


def tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output.float()
    elif isinstance(output, tuple):
        for part in output:
            yield from tensors(part)


def step(model: nn.Module, inputs: tuple[Tensor, ...], parts: list[nn.Module]) -> dict[str, Tensor]:
    """Loss, gradients and buffers after a forward and a backward pass."""
    torch.manual_seed(1)
    model.zero_grad()
    with recomputed(parts):
        loss = torch.stack([t.square().mean() for t in tensors(model(*inputs))]).sum()
        loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients, **{name: b.clone() for name, b in model.named_buffers()}}


@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_a_step_are_those_without_it(name: str) -> None:
    model = saccade.create(name, options=MODELS[name]).train()
    start = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    inputs, parts = model.example_inputs(2), recomputed_parts(model)
    plain = step(model, inputs, [])
    model.load_state_dict(start)
    calls: list[nn.Module] = []
    handles = [part.register_forward_pre_hook(lambda part, _: calls.append(part)) for part in parts]
    result = step(model, inputs, parts)
    for handle in handles:
        handle.remove()
    assert len(parts) >= 2
    assert set(calls) == set(parts)
    assert plain.keys() == result.keys()
    assert all(torch.equal(plain[key], result[key]) for key in plain)
    assert all("forward" not in vars(part) for part in parts)


def test_the_backward_pass_computes_each_part_again() -> None:
    model, count = saccade.create("vit_digits").train(), 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    model.encoder.blocks[1].mlp.register_forward_pre_hook(counted)
    step(model, model.example_inputs(2), [])
    assert count == 1
    step(model, model.example_inputs(2), recomputed_parts(model))
    assert count == 3


def test_inputs_of_parts_and_the_largest_part_are_kept() -> None:
    """Of a ViT: below a third of its activations, and at least a block's and the inputs of all."""
    model = saccade.create("vit_digits")
    whole, less = measure_cost(model), measure_cost(model, None, recomputed_parts(model))
    inputs = 4 * 4 * 17 * 64  # bytes of a float, blocks, tokens, width
    assert inputs + whole.activation_bytes / 4 * 0.7 < less.activation_bytes < 0.5 * whole.activation_bytes
    assert less.macs == whole.macs


def test_a_model_without_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="AlexNet has none"):
        recomputed_parts(saccade.create("alexnet"))


def test_a_run_with_it_has_the_weights_of_one_without(tmp_path) -> None:
    images = [(torch.randn(1, 8, 8), index % 10) for index in range(16)]
    labels, weights = tuple("0123456789"), []
    for on in (False, True):
        torch.manual_seed(0)
        model = saccade.create("vit_digits", options={"drop_path": 0.5, "depth": 2})
        setup = TrainingSetup(own_model(model, labels), ClassificationTask(labels), OwnDataset(images))
        options = {"batch_size": 16, "schedule.steps": 3, "preflight": False, "activation_checkpointing": on}
        config = resolve("digits", overrides={**options, "data.workers": 0})
        result = saccade.train(setup, config, output=tmp_path / str(on))
        weights.append(load_file(result.run.model / "model.safetensors"))
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
