"""`saccade export`: a model as one file for ONNX Runtime, OpenVINO or torch.export."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from saccade.cli.options import Json, ModelOptions
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

Target = Literal["onnx", "openvino", "torch", "huggingface"]


def export(
    model: str,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    *,
    to: Annotated[Target, Parameter(help="Program that opens the file.")] = "onnx",
    attention: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True)] = (),
    images: Annotated[tuple[Path, ...], Parameter(negative="", consume_multiple=True)] = (),
    tolerance: float | None = None,
    opening: ModelOptions | None = None,
    as_json: Json = False,
) -> None:
    """Write a model as one file: images of 8 bits and any size in, named results out, with its preprocessing inside.

    The file is compared with PyTorch on batches of 1, 2 and 5 photographs in three sizes, and kept only if all
    differences are within the tolerance. `saccade predict FILE` and `saccade evaluate FILE` read it.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    out
        The file, or a folder for model.onnx.
    attention
        Numbers of attentions whose weights the graph returns too: 0 is the first layer, -1 the last.
    images
        Photographs or folders of them for the comparison (default: two that scikit-learn brings).
    tolerance
        Largest difference from PyTorch, as a fraction of an output's scale; 1e-4 unless given, 2e-3 of OpenVINO.
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
    predictor = load(model, image_size=way.image_size, device=way.device, labels=way.labels)
    try:
        exported = export_predictor(predictor, out, to, attention=attention, images=images, tolerance=tolerance)
    except ParityError as error:
        show(str(error.parity))
        raise
    if as_json:
        content = {"path": str(exported.path), "outputs": list(exported.outputs), "parity": exported.parity.to_dict()}
        print(dump_json(content))
    else:
        show(str(exported))
