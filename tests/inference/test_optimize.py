"""saccade.optimize: what it chooses, refuses, keeps and prints."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.errors import ConfigError, RecordingError
from saccade.inference import candidates, choices
from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.backends.eager import PackedLinear
from saccade.inference.optimize import OptimizedModel, choice_of, optimize
from saccade.inference.rewriting import Part
from saccade.models.clip import CLIP

FAST = ["torch", "torch with packed weights"]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return choices.choices_folder()


def test_the_result_is_the_models_output_and_the_choice_is_kept(cache_folder: Path) -> None:
    model = saccade.create("vit_digits").eval()
    images = model.example_inputs(3)[0]
    fast = optimize(model, batch_size=3, backends=FAST, seconds=0.1)
    assert isinstance(fast, OptimizedModel)
    assert (fast(images) - model(images)).abs().max() <= 1e-5 * model(images).abs().max()
    assert {m.name for m in fast.choice.measurements} == set(FAST)
    assert fast.choice.backend == fast.choice.measurements[0].name
    assert "ms a batch" in str(fast.choice)
    assert len(list(cache_folder.glob("*.json"))) == 1
    again = optimize(model, batch_size=3, backends=FAST)
    assert again.choice.measurements == ()
    assert again.choice.backend == fast.choice.backend
    with torch.no_grad():
        model.head.bias[0] += 1
    assert optimize(model, batch_size=3, backends=FAST, seconds=0.1).choice.measurements  # other weights
    assert choices.clear_choices() == 2


def test_other_shapes_and_methods_are_the_plain_models() -> None:
    model = saccade.create("vit_digits").eval()
    fast = optimize(model, backends=FAST[:1], seconds=0.1, cache=False)
    larger = model.example_inputs(1, (16, 16))[0]
    assert torch.equal(fast(larger), model(larger))
    assert torch.equal(fast.features(larger)[0].features, model.features(larger)[0].features)


def test_recording_is_refused_in_one_line() -> None:
    fast = optimize(saccade.create("vit_digits").eval(), backends=FAST[:1], seconds=0.1, cache=False)
    with pytest.raises(RecordingError, match="no attention weights and no tokens"), saccade.record(fast):
        pass


def test_a_clip_keeps_its_class_and_its_texts() -> None:
    model = saccade.create("clip_small").eval()
    images, tokens = model.example_inputs(2)
    fast = optimize(model, batch_size=2, backends=FAST[:1], seconds=0.1, cache=False)
    assert isinstance(fast, CLIP)
    assert isinstance(fast.backbone, OptimizedModel)
    assert not isinstance(model.backbone, OptimizedModel)
    assert torch.allclose(fast(images, tokens).logits, model(images, tokens).logits, atol=1e-5)
    assert choice_of(fast).backend == "torch"


def wrong(part: Part, images: Tensor, precision: Precision) -> Run:
    return lambda images: [part(images)[0] * 1.001]


def broken(part: Part, images: Tensor, precision: Precision) -> Run:
    raise RuntimeError("operator\nnot supported")


def test_a_backend_that_is_wrong_or_fails_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    others = (
        Backend("wrong", ("torch",), ("f32",), True, wrong),
        Backend("broken", ("torch",), ("f32",), True, broken),
    )
    monkeypatch.setattr(candidates, "BACKENDS", (*candidates.BACKENDS, *others))
    model = saccade.create("vit_digits").eval()
    fast = optimize(model, backends=["wrong", "broken", "torch"], seconds=0.1, cache=False)
    refusals = {m.name: m.refusal for m in fast.choice.measurements}
    assert fast.choice.backend == "torch"
    assert refusals["wrong"] == "its error 1e-03 is above 1e-05"
    assert refusals["broken"] == "does not run: operator not supported"
    with pytest.raises(ConfigError, match=r"no backend in f32 is exact enough: wrong: its error 1e-03"):
        optimize(model, backends=["wrong"], cache=False)


def test_classes_that_change_refuse_int8() -> None:
    assert candidates.judge(0.1, 0.94, "int8") == "only 94% of the classes agree"
    assert candidates.judge(0.1, 0.95, "int8") == ""
    assert "by classes" in candidates.judge(0.1, None, "int8")
    logits, others = torch.eye(4) * 2, torch.eye(4)[[0, 1, 2, 0]] * 2
    assert candidates.difference([[logits]], [[others]]) == (1.0, 0.75)


def test_what_cannot_be_optimised_is_named() -> None:
    for model, options, message in (
        (nn.Linear(2, 2), {}, "not a Linear"),
        (saccade.create("bert_small"), {}, "reads texts"),
        (saccade.create("vit_digits"), {"backends": ["tvm"]}, "no backend 'tvm'"),
        (saccade.create("vit_digits"), {"precision": "f16"}, "f32, bf16 or int8"),
        (saccade.create("vit_digits"), {"batch_size": 0}, "batch_size must be at least 1"),
        (saccade.create("vit_digits"), {"images": torch.zeros(1, 1, 9, 9)}, r"\[9, 9\] pixels, not \[8, 8\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            optimize(model, **options)


@pytest.mark.parametrize("gelu", [None, "none", "tanh"])
def test_packed_weights(gelu: str | None) -> None:
    linear, x = nn.Linear(24, 40), torch.randn(2, 5, 24)
    expected = linear(x) if gelu is None else nn.functional.gelu(linear(x), approximate=gelu)
    assert torch.allclose(PackedLinear(linear, 10, gelu)(x), expected, atol=1e-6)
