"""OpenVINO's runtime for the processor (the extra `openvino`)."""

import threading

import torch
from torch import Tensor

from saccade.deferred import Deferred
from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.rewriting import Part

openvino = Deferred("openvino")


def convert(part: Part, images: Tensor) -> object:
    """An OpenVINO model for images of this shape ``[B, C, H, W]``."""
    program = torch.export.export(part, (images,), strict=False)
    return openvino.convert_model(program, input=[list(images.shape)])


def build(part: Part, images: Tensor, precision: Precision) -> Run:
    config = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }  # fmt: skip
    compiled = openvino.Core().compile_model(convert(part, images), "CPU", config)
    request, lock = compiled.create_infer_request(), threading.Lock()

    def run(images: Tensor) -> list[Tensor]:
        with lock:  # the request's outputs are read before the next one
            results = request.infer([images.contiguous().numpy()], share_inputs=True)
            return [torch.from_numpy(results[i].copy()) for i in range(len(results))]

    return run


OPENVINO = Backend("openvino", ("openvino",), ("f32", "bf16"), False, build)
