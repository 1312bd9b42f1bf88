"""Maps computed by captum: integrated gradients and occlusion. Needs the extra `attribution`.

H x W pixels.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from saccade.analysis.gradient_maps import GradientMap, class_score, output_reader
from saccade.analysis.outputs import require_one_class
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode

CaptumMethod = Literal["integrated-gradients", "occlusion"]
CAPTUM_METHODS: tuple[CaptumMethod, ...] = get_args(CaptumMethod)
STEPS = 50  # of the path of integrated gradients


def captum_map(predictor: Predictor, inputs: Tensor, method: CaptumMethod, target: int | None = None) -> GradientMap:
    """Contribution of pixels to the score of a class.

    Args:
        predictor: a classifier.
        inputs: one image ``[1, C, H, W]``, prepared.
        method: "integrated-gradients" (Sundararajan et al., arXiv 1703.01365) from the mean colour, in 50 steps; or
            "occlusion" (Zeiler & Fergus, arXiv 1311.2901), one patch at a time behind the mean colour.
        target: number of the class; the best one by default.

    Returns:
        ``values [H, W]``; negative where pixels are evidence against the class. For integrated gradients the sum over
        channels; for occlusion every pixel of a patch has the loss of the score without the patch.

    Raises:
        ConfigError: captum is not installed, or the model has no class scores.
    """
    try:
        from captum.attr import IntegratedGradients, Occlusion
    except ImportError:
        raise ConfigError(f"{method} needs captum: pip install 'saccade[attribution]'") from None
    reader, leaf = output_reader(predictor), inputs.to(predictor.device)
    with evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
        with torch.no_grad():
            outputs = reader(leaf)
        require_one_class(outputs, method)
        _, logits = class_score(outputs, target)
        number = int(logits.argmax()) if target is None else target
        values: Any
        if method == "integrated-gradients":
            values = IntegratedGradients(reader).attribute(leaf, target=number, n_steps=STEPS, internal_batch_size=10)
        else:
            height, width = leaf.shape[-2:]
            layout = predictor.model.token_layout((height, width))
            stride = (max(1, height // 14), max(1, width // 14)) if layout is None else layout.stride
            window = (leaf.shape[1], *stride)
            values = Occlusion(reader).attribute(leaf, window, strides=window, target=number, perturbations_per_eval=8)
    over_channels = values[0].sum(dim=0) if method == "integrated-gradients" else values[0].mean(dim=0)
    return GradientMap(over_channels.detach().float().cpu(), logits)
