"""A classifier as a file: its answers, its metric, its attention, and what happens to a damaged one."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import saccade
from saccade.cli.main import main
from saccade.data.jpeg import read_pixels
from saccade.engine.predictor import Predictor
from saccade.errors import CheckpointError, ConfigError
from saccade.inference.export import export
from saccade.inference.export.evaluation import evaluate_exported
from saccade.inference.export.export import Exported
from saccade.inference.export.graph import ExportGraph
from saccade.inference.export.metadata import Metadata
from saccade.inference.export.openvino_int8 import write_openvino_int8
from saccade.inference.export.parity import ParityError, inputs_of
from saccade.inference.export.precision import (
    calibration_images,
    check_precision,
    lower_precision,
    preprocessing_nodes,
)
from saccade.inference.export.runner import open_exported
from saccade.inference.export.sessions import OnnxSession, open_session
from saccade.tasks import table

MODEL = Path(__file__).parents[2] / "golden/runs/classify/model"
WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Block())
from saccade.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return saccade.load(MODEL)


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return saccade.export(predictor, tmp_path_factory.mktemp("exported"), attention=(0, -1))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photographs") / "a.png"
    Image.fromarray(load_sample_images().images[0][:180, :250]).save(path)
    return path


def test_every_batch_and_size_equals_pytorch(exported: Exported) -> None:
    assert [(row.batch, row.size) for row in exported.parity.rows][::4] == [
        (1, "224 x 224"), (2, "180 x 270"), (5, "301 x 97"),
    ]  # fmt: skip
    assert exported.parity.largest < 1e-5
    assert "pass" in str(exported)


def test_predict_needs_no_torch_and_prints_the_same(
    exported: Exported, photograph: Path, capsys, tmp_path: Path
) -> None:
    for options in ((), ("--json", "--top", "2")):
        command = ["predict", str(exported.path), str(photograph), *options]
        run = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *command, "--draw", str(tmp_path)], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert main(["predict", str(MODEL), str(photograph), *options]) == 0
        expected = capsys.readouterr().out
        if options:
            scores = [[one["score"] for one in json.loads(text)[0]["top"]] for text in (run.stdout, expected)]
            np.testing.assert_allclose(*scores, atol=1e-6)
        else:
            assert run.stdout == expected
    assert (tmp_path / "a.png").is_file()


def test_evaluate_gives_the_same_metric(exported: Exported, capsys) -> None:
    figures = []
    for model in (exported.path, MODEL):
        assert main(["evaluate", str(model), "digits", "--json"]) == 0
        figures.append(json.loads(capsys.readouterr().out))
    of_file, of_model = figures
    assert of_file["split"] == of_model["split"] == "test"
    assert of_file["accuracy"] == of_model["accuracy"]
    assert of_file["nll"] == pytest.approx(of_model["nll"], abs=1e-6)


def test_jpegs_that_are_decoded_as_tensors_give_the_same_metric(exported: Exported, tmp_path: Path) -> None:
    """Both sides of their own: data sets of a model decode to tensors, `predict` decodes with Pillow."""
    for number in range(20):
        folder = tmp_path / str(number % 10)
        folder.mkdir(exist_ok=True)
        cut = load_sample_images().images[number % 2][10 * number : 10 * number + 90, 20 * number : 20 * number + 70]
        Image.fromarray(cut).convert("L").save(folder / f"{number}.jpg")
    assert isinstance(read_pixels((tmp_path / "0/0.jpg").read_bytes(), channels=1), torch.Tensor)
    of_file = evaluate_exported(exported.path, str(tmp_path), table.room, workers=0)[0].collected
    of_model = saccade.evaluate(MODEL, tmp_path, workers=0).collected
    assert of_file.names == of_model.names
    paths = [tmp_path / name for name in of_file.names]
    decoded = open_exported(exported.path, table.decoder).stream(paths)
    for row, other, result in zip(of_file["logits"], of_model["logits"], decoded, strict=True):
        assert torch.allclose(row.softmax(0), other.softmax(0), atol=1e-6)
        assert result.score == pytest.approx(other.softmax(0).max().item(), abs=1e-6)  # type: ignore[attr-defined]


def test_fewer_bits_are_measured_and_refused(exported: Exported, predictor: Predictor, tmp_path: Path) -> None:
    end = predictor.room.graph_end(predictor.source, predictor.task)
    plain = ExportGraph(predictor.preprocess, predictor.model, end).eval()
    metadata = Metadata.read(OnnxSession(exported.path).properties, exported.path)
    images = calibration_images(1)
    for precision in ("bf16", "int8"):
        path = tmp_path / f"{precision}.onnx"
        path.write_bytes(exported.path.read_bytes())
        lower_precision(path, replace(metadata, precision=precision))
        sizes = exported.path.stat().st_size, path.stat().st_size
        session = OnnxSession(path, 1)
        assert session.properties["saccade.precision"] == f'"{precision}"'
        check = check_precision(plain, session, images, precision, sizes)
        assert check.agreement is not None
        assert check.agreement >= 0.95
        assert 0 < check.error < 0.05
        assert f"{precision}: 64 images" in str(check)
    weights = onnx.load(str(tmp_path / "bf16.onnx")).graph.initializer
    assert any(weight.data_type == onnx.TensorProto.BFLOAT16 for weight in weights)
    assert any(node.op_type == "MatMulInteger" for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node)
    other = copy.deepcopy(plain)
    with torch.no_grad():
        other.model.get_parameter("head.bias").copy_(50 * torch.arange(10) * (torch.arange(10) % 2))
    with pytest.raises(ConfigError, match=r"int8 is not written: only \d+% of the classes agree"):
        check_precision(other, session, images, "int8", sizes)
    for to, precision, message in (
        ("torch", "bf16", "precisions f32, not bf16"),
        ("torch", "int8", "precisions f32, not int8"),
    ):
        with pytest.raises(ConfigError, match=message):
            saccade.export(predictor, tmp_path / "a", to=to, precision=precision)  # type: ignore[arg-type]


@pytest.mark.slow
def test_openvino_in_8_bits(exported: Exported, predictor: Predictor, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    plain = ExportGraph(
        predictor.preprocess, predictor.model, predictor.room.graph_end(predictor.source, predictor.task)
    )
    onnx_metadata = Metadata.read(OnnxSession(exported.path).properties, exported.path)
    metadata, path = replace(onnx_metadata, precision="int8"), tmp_path / "model.xml"
    images = calibration_images(1)
    inputs = [inputs_of(plain, [image]) for image in images[:16]]
    write_openvino_int8(exported.path, metadata, path, inputs, preprocessing_nodes(exported.path), transformer=True)
    session = open_session(path, 1)
    assert session.properties["saccade.precision"] == '"int8"'
    check = check_precision(plain.eval(), session, images[16:], "int8", (2, 1))
    assert check.agreement is not None
    assert check.agreement >= 0.95
    assert 1e-5 < check.error < 0.05
    assert 'type="FakeQuantize"' in path.read_text()


def test_attention_is_that_of_a_recording(exported: Exported, predictor: Predictor) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(exported.path))
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"images": image})))
    with torch.no_grad(), saccade.record(predictor.model, layers=[0, -1]) as trace:
        predictor.model(predictor.prepare(image[0])[None])
    for path, weights in trace.attention.items():
        np.testing.assert_allclose(outputs[f"attention_{path.replace('.', '_')}"], weights, atol=1e-6)


def test_labels_and_preprocessing_travel_in_the_file(exported: Exported, predictor: Predictor) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(str(exported.path)).metadata_props}
    assert json.loads(properties["saccade.labels"]) == list(predictor.labels)
    assert json.loads(properties["saccade.task"]) == "classification"
    assert json.loads(properties["saccade.preprocessing"])["mean"] == list(predictor.preprocess.mean)


def test_another_computation_is_refused_with_its_first_layer(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = export.write_onnx

    def damaged(program, names, metadata, path: Path) -> None:
        write(program, names, metadata, path)
        model = onnx.load(str(path))
        weight = next(w for w in model.graph.initializer if "blocks.1.mlp.fc1.bias" in w.name)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 1, weight.name))
        onnx.save(model, str(path))

    monkeypatch.setattr(export, "write_onnx", damaged)
    with pytest.raises(ParityError, match=r"the first layer that differs is model\.encoder\.blocks\.1\.mlp\.fc1,"):
        saccade.export(predictor, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_or_opened_is_named(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no attention 9"):
        saccade.export(predictor, tmp_path, attention=(9,))
    with pytest.raises(ConfigError, match="ending of openvino"):
        saccade.export(predictor, tmp_path / "a.xml")
    with pytest.raises(ConfigError, match="task masked_lm cannot be exported"):
        saccade.export(MODEL.parents[1] / "words/model", tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="cannot open"):
        open_exported(tmp_path / "a.onnx", table.decoder)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["openvino", "torch"])
def test_other_formats(to: str, predictor: Predictor, photograph: Path, tmp_path: Path) -> None:
    written = saccade.export(predictor, tmp_path, to=to)  # type: ignore[arg-type]
    expected = predictor.predict(photograph)
    if to == "openvino":
        result = open_exported(tmp_path, table.decoder).predict(photograph)
        assert result.label == expected.label  # type: ignore[attr-defined]
        return
    pixels = torch.from_numpy(np.asarray(Image.open(photograph).convert("L")).copy())[None, ..., None]
    (probabilities,) = torch.export.load(written.path).module()(pixels)
    assert probabilities.max().item() == pytest.approx(expected.score, abs=1e-5)
