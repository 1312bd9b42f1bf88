"""`saccade export`: a model as one file for ONNX Runtime, OpenVINO or torch.export."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from saccade.cli.options import Json, ModelOptions
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from saccade.engine.predictor import Predictor
    from saccade.inference.export.export import Exported

Target = Literal["onnx", "openvino", "torch", "huggingface"]


def export(
    model: str,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    *,
    to: Annotated[Target, Parameter(help="Runtime that opens the file.")] = "onnx",
    attention: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True)] = (),
    images: Annotated[tuple[Path, ...], Parameter(negative="", consume_multiple=True)] = (),
    tolerance: float | None = None,
    precision: Literal["f32", "bf16", "int8"] = "f32",
    data: str = "",
    opening: ModelOptions | None = None,
    as_json: Json = False,
) -> None:
    """Write a model as one file that maps 8-bit images of any size to named outputs, with its preprocessing inside.

    The file is compared with PyTorch on batches of 1, 2 and 5 photographs in three sizes, and kept only if all
    differences are within the tolerance. `saccade predict FILE` and `saccade evaluate FILE` read it.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    out
        The file, or a folder for model.onnx.
    attention
        Indices of attention layers whose weights the graph also returns: 0 is the first, -1 the last.
    images
        Photographs or folders of them for the comparison (default: the two sample images of scikit-learn).
    tolerance
        Largest difference from PyTorch, as a fraction of an output's scale; 1e-4 by default, 5e-4 for OpenVINO.
    precision
        Precision of the weights. bf16 halves the file; int8 quantises matrix products. The file is rejected if fewer
        than 95 % of the predicted classes of --images (or of 64 crops of photographs) stay the same.
    data
        Labelled data on which the model and the file are measured afterwards, as by `saccade evaluate`.
    """
    from saccade.inference.export.export import export_predictor
    from saccade.inference.export.parity import ParityError
    from saccade.tasks.loading import load

    way = opening or ModelOptions()
    if to == "huggingface":
        from saccade.checkpoints.convert import convert

        if attention or images or as_json:
            raise ConfigError("--to huggingface writes a folder for transformers and takes no other options")
        size = None if way.image_size is None else (way.image_size, way.image_size)
        for note in convert(model, out, "huggingface", image_size=size):
            show(note)
        show(f"huggingface: {out}")
        return
    if data and to == "torch":
        raise ConfigError("--data measures files that run here: --to onnx or openvino")
    predictor = load(model, image_size=way.image_size, device=way.device, labels=way.labels)
    try:
        exported = export_predictor(
            predictor, out, to, attention=attention, images=images, tolerance=tolerance, precision=precision
        )
    except ParityError as error:
        show(str(error.parity))
        raise
    if as_json:
        content = {"path": str(exported.path), "outputs": list(exported.outputs), "parity": exported.parity.to_dict()}
        check = exported.precision
        print(
            dump_json(content | ({"precision": asdict(check)} if check else {}) | measured(predictor, exported, data))
        )
    else:
        show(str(exported))
        for name, metrics in measured(predictor, exported, data).items():
            show(f"{name.replace('_', ' ')}: {', '.join(f'{k} {v:.4g}' for k, v in metrics.items())}")


def measured(predictor: "Predictor", exported: "Exported", data: str) -> dict[str, dict[str, float]]:
    """The figures of the model and of its file on labelled data."""
    if not data:
        return {}
    from saccade.engine.evaluation import evaluate
    from saccade.inference.export.evaluation import evaluate_exported
    from saccade.tasks import table

    of_model, (of_file, _) = evaluate(predictor, data), evaluate_exported(exported.path, data, table.room)
    return {"model": of_model.metrics.scalars(), "exported_file": of_file.metrics.scalars()}
