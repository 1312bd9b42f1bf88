"""DETR's loss with its auxiliary losses against transformers', of random predictions and of a whole detector."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from saccade.checkpoints.loading import load_model
from saccade.data.samples import Batch
from saccade.models.detr import DETR, DetrOutput
from saccade.tasks.detection.detr import DetrTask
from tests.parity.cases import randomised

LABELS, QUERIES, MOST = ("ant", "bee", "cat", "dog"), 9, 4
PARTS = ("loss_ce", "loss_bbox", "loss_giou")


class FreePredictions(nn.Module):
    """A detector whose outputs after each of three decoder layers are its parameters."""

    def __init__(self, images: int):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(3, images, QUERIES, len(LABELS) + 1))
        self.boxes = nn.Parameter(random_boxes(3, images, QUERIES))
        self.config = SimpleNamespace(num_queries=QUERIES)

    def forward(self, images: Tensor, valid: Tensor | None) -> DetrOutput:
        first, second = (DetrOutput(self.logits[i], self.boxes[i]) for i in (0, 1))
        return DetrOutput(self.logits[2], self.boxes[2], (first, second))


def random_boxes(*shape: int) -> Tensor:
    return torch.cat((torch.rand(*shape, 2) * 0.6 + 0.2, torch.rand(*shape, 2) * 0.3 + 0.05), dim=-1)


def objects(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Classes ``[B, n]``, -1 as padding, and boxes ``[B, n, 4]`` of so many objects in each image."""
    classes = torch.randint(len(LABELS), (len(counts), MOST))
    classes[torch.arange(MOST) >= torch.tensor(counts)[:, None]] = -1
    return classes, random_boxes(len(counts), MOST)


def batch_of(images: Tensor, valid: Tensor, classes: Tensor, boxes: Tensor) -> Batch:
    sizes = torch.tensor([[100, 200]] * len(images))
    labels = {"classes": classes, "boxes": boxes, "sizes": sizes, "valid": valid}
    return Batch(images, labels, ("",) * len(images), torch.arange(len(images)))


def their_labels(classes: Tensor, boxes: Tensor) -> list[dict[str, Tensor]]:
    return [{"class_labels": row[row >= 0], "boxes": box[row >= 0]} for row, box in zip(classes, boxes)]


def our_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and each of its terms divided by its count, without weights."""
    task = DetrTask(LABELS)
    counts, terms = task.counts(model, batch), task.train_step(model, batch)
    parts = {name: (term.total / counts[term.count]).item() for name, term in terms.loss.items()}
    return terms.value(counts).float(), parts


@pytest.mark.parametrize("counts", [[3, 1], [4, 0, 2], [1], [2, 2, 2, 2]])
def test_loss_of_random_predictions(counts: list[int]) -> None:
    transformers = pytest.importorskip("transformers")
    losses = pytest.importorskip("transformers.loss.loss_for_object_detection")
    config = transformers.DetrConfig(num_labels=len(LABELS), auxiliary_loss=True)
    torch.manual_seed(len(counts))
    for _ in range(5):
        net, (classes, boxes) = FreePredictions(len(counts)), objects(counts)
        images, valid = torch.zeros(len(counts), 3, 4, 4), torch.ones(len(counts), 4, 4, dtype=torch.bool)
        loss, parts = our_loss(net, batch_of(images, valid, classes, boxes))
        expected, their_parts, _ = losses.ForObjectDetectionLoss(
            net.logits[2], their_labels(classes, boxes), "cpu", net.boxes[2], config, net.logits, net.boxes
        )
        names = [name + layer for name in PARTS for layer in ("", "_0", "_1")]
        assert sorted(parts) == sorted(names)
        assert parts == pytest.approx({name: their_parts[name].item() for name in names}, rel=1e-5)
        torch.testing.assert_close(loss, expected, atol=0, rtol=1e-5)
        for actual, reference in zip(
            torch.autograd.grad(loss, list(net.parameters())), torch.autograd.grad(expected, list(net.parameters()))
        ):
            torch.testing.assert_close(actual, reference, atol=1e-5, rtol=1e-5)


def test_loss_of_a_detector_with_the_same_weights(tmp_path: Path) -> None:
    """`DetrForObjectDetection` on a padded batch, and the gradients of what its heads and layers share.

    Meta's decoder normalises a copy of each layer's output for the auxiliary losses. With `auxiliary_loss=True`
    transformers' passes the normalised output on to the next layer, which is another network; so the flag is off in the
    model, and its layers' outputs are normalised here.
    """
    transformers = pytest.importorskip("transformers")
    losses = pytest.importorskip("transformers.loss.loss_for_object_detection")
    backbone = {
        "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 1, 1, 1],
        "layer_type": "bottleneck", "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }  # fmt: skip
    sizes = {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 8,
        "decoder_attention_heads": 8, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": QUERIES,
    }  # fmt: skip
    settings = transformers.DetrConfig(
        **sizes, num_labels=len(LABELS), use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone,
    )  # fmt: skip
    torch.manual_seed(0)
    official = randomised(transformers.DetrForObjectDetection(settings)).eval()
    with torch.no_grad():  # fresh weights are so small that all queries predict the same
        for parameter in official.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.2)
        official.model.query_position_embeddings.weight.normal_(std=2.0)
    official.save_pretrained(tmp_path)
    net = load_model(tmp_path).model.eval()
    assert isinstance(net, DETR)
    images, valid = torch.randn(2, 3, 64, 96), torch.ones(2, 64, 96, dtype=torch.bool)
    valid[1, 40:], valid[1, :, 64:] = False, False
    images, (classes, boxes) = images * valid[:, None], objects([3, 1])

    decoder, states = official.model.decoder, []
    for layer in decoder.layers:
        layer.register_forward_hook(lambda module, inputs, output: states.append(decoder.layernorm(output)))
    output = official(pixel_values=images, pixel_mask=valid.long())
    logits = official.class_labels_classifier(torch.stack(states))
    predictions = official.bbox_predictor(torch.stack(states)).sigmoid()
    assert torch.equal(logits[-1], output.logits)
    assert output.logits.std(dim=1).min() > 0.01
    config = transformers.DetrConfig(num_labels=len(LABELS), auxiliary_loss=True)
    expected, their_parts, _ = losses.ForObjectDetectionLoss(
        output.logits, their_labels(classes, boxes), "cpu", output.pred_boxes, config, logits, predictions
    )
    loss, parts = our_loss(net, batch_of(images, valid, classes, boxes))
    assert parts == pytest.approx({name: their_parts[name].item() for name in parts}, rel=1e-4)
    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-5)
    for ours, theirs in (
        (net.class_embed.weight, official.class_labels_classifier.weight),
        (net.queries, official.model.query_position_embeddings.weight),
    ):
        (actual,) = torch.autograd.grad(loss, ours, retain_graph=True)
        (reference,) = torch.autograd.grad(expected, theirs, retain_graph=True)
        torch.testing.assert_close(actual, reference, atol=1e-5, rtol=1e-3)
