"""The last parts of exported detectors: boxes in pixels of the image, scores and classes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert

from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd
from saccade.errors import ConfigError
from saccade.models.detr import DETR
from saccade.tasks.detection.boxes import boxes_to_pixels
from saccade.tasks.detection.detr import DetrTask
from saccade.tasks.detection.fcos import TOP_CANDIDATES, FcosTask
from saccade.tasks.detection.task import PredictedBoxes

PROBE = 64  # pixels of an image that shows the strides of a backbone's layers


class DetrGraph(GraphEnd):
    """``boxes [B, Q, 4]`` (left, top, right, bottom), ``scores [B, Q]`` and ``labels [B, Q]`` of every object query.

    A batch may hold images of several sizes: inside of the backbone padding is set to 0 in front of every convolution
    and behind every ReLU, as beyond the edge of an image that is alone.
    """

    padded = True

    def __init__(self, task: DetrTask, model: DETR):
        self.task = task
        self.strides = convolution_strides(model.backbone, model.config.in_channels)

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        assert isinstance(model, DETR)
        with zeroed_padding(model.backbone, self.strides, valid):
            maps = [m.features for m in model.backbone.features(images)]
        height, width = maps[-1].shape[-2:]
        torch._check(height * width > 1)  # of one place alone PyTorch would trace other code
        down, across = model.stride
        outputs = model.predict(maps, valid[:, ::down, ::across])
        scores, labels = outputs.logits.float().softmax(-1)[..., :-1].max(-1)
        return {"boxes": boxes_to_pixels(outputs.boxes, sizes), "scores": scores, "labels": labels}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        columns = zip(outputs["boxes"], outputs["scores"], outputs["labels"])
        return self.task.collect_boxes([PredictedBoxes(*rows) for rows in columns], batch)

    def state(self) -> dict[str, Any]:
        return {"suppresses": False}


class SetOutputs(NamedTuple):
    """Outputs of a file in place of a model's, see :class:`saccade.tasks.detection.detr.SetPrediction`."""

    logits: Tensor
    boxes: Tensor
    masks: Tensor
    aux: tuple[()] = ()


class DetrMaskGraph(DetrGraph):
    """Also ``masks [B, Q, H, W]`` boolean, at the size of the image, and what panoptic segmentation is computed from:
    ``logits [B, Q, K + 1]``, of which the last class is "no object", and ``mask_logits [B, Q, h, w]``.

    All images of a batch have one size: the mask head's group norms take in padding, which would change its masks.
    """

    padded = False

    def __init__(self, task: DetrTask, model: DETR, preprocessing: Preprocessing):
        super().__init__(task, model)
        self.preprocessing = preprocessing

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        outputs = model(images)
        scores, labels = outputs.logits.float().softmax(-1)[..., :-1].max(-1)
        height, width = (int(n) if isinstance(n, int) else n for n in sizes.tolist())
        torch._check(height >= 1)
        torch._check(width >= 1)
        masks = F.interpolate(outputs.masks.float(), size=(height, width), mode="bilinear", align_corners=False) > 0
        return {
            "boxes": boxes_to_pixels(outputs.boxes, sizes[None]), "scores": scores, "labels": labels, "masks": masks,
            "logits": outputs.logits.float(), "mask_logits": outputs.masks.float(),
        }  # fmt: skip

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        assert isinstance(batch.labels, dict)
        height, width = batch.labels["sizes"][0].tolist()
        fractions = outputs["boxes"] / torch.tensor([width, height, width, height])
        labels = dict(batch.labels)
        if "masks" in labels:  # the model is measured on masks of the size of its input
            p = self.preprocessing
            size = p.whole_size(height, width) if p.keeps_aspect else p.size
            labels["masks"] = F.interpolate(labels["masks"].float(), size=size).bool()
        pred = SetOutputs(outputs["logits"], box_convert(fractions, "xyxy", "cxcywh"), outputs["mask_logits"])
        return self.task.collect(pred, batch._replace(labels=labels))


class FcosGraph(GraphEnd):
    """``boxes [B, n, 4]``, ``scores [B, n]`` and ``labels [B, n]`` of the candidates with the highest scores, before
    non-maximum suppression."""

    def __init__(self, task: FcosTask):
        self.task = task

    def run(self, model: nn.Module, images: Tensor, valid: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        outputs = model(images, valid)
        scores, labels = outputs.logits.float().sigmoid().max(-1)
        boxes = boxes_to_pixels(outputs.boxes, sizes[None])
        best = scores.argsort(1, descending=True)[:, :TOP_CANDIDATES]
        rows = best[..., None].expand(-1, -1, 4)
        return {"boxes": boxes.gather(1, rows), "scores": scores.gather(1, best), "labels": labels.gather(1, best)}

    def collect(
        self, outputs: Mapping[str, Tensor], batch: Batch, parts: Mapping[str, GraphFunction]
    ) -> dict[str, Tensor]:
        columns = zip(outputs["boxes"], outputs["scores"], outputs["labels"])
        return self.task.collect_boxes([self.task.suppressed(PredictedBoxes(*rows)) for rows in columns], batch)

    def state(self) -> dict[str, Any]:
        return {"suppresses": True}


def convolution_strides(backbone: nn.Module, channels: int) -> dict[str, int]:
    """Path of each convolution and ReLU -> pixels of the image from one place of its input to the next."""
    strides: dict[str, int] = {}

    def keep(path: str):
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            strides[path] = PROBE // arguments[0].shape[-1]

        return hook

    with ExitStack() as stack, torch.no_grad():
        for path, module in backbone.named_modules():
            if isinstance(module, nn.Conv2d | nn.ReLU):
                stack.callback(module.register_forward_pre_hook(keep(path)).remove)
        try:
            image = torch.zeros(1, channels, PROBE, PROBE, device=next(backbone.parameters()).device)
            backbone.features(image)  # type: ignore[operator]
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"a detector on this backbone is not exported: {error}") from None
    return strides


@contextmanager
def zeroed_padding(backbone: nn.Module, strides: Mapping[str, int], valid: Tensor) -> Iterator[None]:
    """Set what is no image to 0 in front of every convolution and behind every ReLU, whose output may be pooled.

    Args:
        backbone: of the detector.
        strides: of :func:`convolution_strides`.
        valid: ``[B, h, w]`` boolean, which pixels are image.
    """

    def zeroed(values: Tensor, stride: int) -> Tensor:
        return torch.where(valid[:, None, ::stride, ::stride], values, 0.0)

    with ExitStack() as stack:
        for path, stride in strides.items():
            module = backbone.get_submodule(path)
            if isinstance(module, nn.ReLU):
                handle = module.register_forward_hook(lambda _, __, output, s=stride: zeroed(cast(Any, output), s))
            else:
                handle = module.register_forward_pre_hook(
                    lambda _, values, s=stride: (zeroed(cast(Any, values)[0], s),)
                )
            stack.callback(handle.remove)
        yield
