"""--fast on the command line, and conversion by OpenVINO."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.inference import candidates, choices
from saccade.inference.backends.eager import EAGER


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of digits and an image, in an empty working and cache folder, with one quick backend."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(candidates, "DEFAULT", (EAGER,))
    torch.manual_seed(0)
    size = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.5,), crop_pct=1.0)
    saccade.save(saccade.create("vit_digits"), "model", labels=list("0123456789"), preprocessing=size)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save("one.png")
    return tmp_path


def test_predictions_are_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "model", "one.png", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(["predict", "model", "one.png", "--json", "--fast"]) == 0
    fast = capsys.readouterr()
    assert "fast: torch, f32, batches of [1, 1, 8, 8]" in fast.err
    for a, b in zip(plain, json.loads(fast.out), strict=True):
        assert a["label"] == b["label"]
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)
    assert main(["evaluate", "model", "digits"]) == 0
    plain_text = capsys.readouterr().out
    assert main(["evaluate", "model", "digits", "--fast"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == plain_text.splitlines()[0]
    assert len(list(choices.choices_folder().glob("*.json"))) == 2
    assert main(["doctor", "--clear-cache"]) == 0
    assert "deleted 2 choices" in capsys.readouterr().out
    assert not choices.choices_folder().exists()


def test_wrong_uses_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "model", "one.png", "--precision", "int8"]) == 2
    assert capsys.readouterr().err == "saccade: --precision needs --fast\n"
    assert main(["explain", "model", "one.png", "--fast"]) == 2
    captured = capsys.readouterr()
    assert "--fast" in captured.err + captured.out


CONVERT = """
import sys, openvino, saccade, torch
from saccade.inference.rewriting import Part, tensors_of
for name in sys.argv[1:]:
    model = saccade.create(name).eval()
    images = model.example_inputs(1)[0]
    part = Part(model, "embed" if name.startswith("clip") else "forward").eval()
    with torch.no_grad():
        expected = part(images)[0]
        converted = openvino.convert_model(part, example_input=images, input=[list(images.shape)])
    run = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    error = (torch.from_numpy(run(images.numpy())[0]) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5, (name, error)
    print(name)
"""


@pytest.mark.slow
def test_openvino_converts_each_kind_of_output() -> None:
    """In a process of its own: a conversion used to end it with a floating point exception."""
    pytest.importorskip("openvino")
    names = ["vit_digits", "detr_small", "dpt_small"]
    ran = subprocess.run([sys.executable, "-c", CONVERT, *names], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split() == names


@pytest.mark.slow
def test_int8_and_other_backends_agree_with_the_plain_model() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    model = saccade.create("vit_digits").eval()
    for precision, backend in (("f32", "openvino"), ("int8", "onnxruntime")):
        fast = saccade.optimize(model, precision=precision, batch_size=2, backends=[backend], seconds=0.1, cache=False)
        assert fast.choice.backend == backend
        assert fast.choice.measurements[0].agreement >= 0.95
