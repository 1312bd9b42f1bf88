"""The contrastive loss by hand, ranks with ties, collapse."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.errors import ConfigError
from saccade.models.clip import ClipOutput
from saccade.tasks.contrastive.metrics import ContrastiveMetrics, ranks, retrieval_metrics, retrieval_resampler
from saccade.tasks.contrastive.task import ContrastiveTask, has_text, keys_of

SIDE, WORDS, WIDTH = 6, 5, 4


class Towers(nn.Module):
    """As small as two towers can be."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(3 * SIDE * SIDE, WIDTH), nn.Linear(WORDS, WIDTH)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: Tensor, tokens: Tensor) -> ClipOutput:
        image, text = self.image(images.flatten(1)), self.text(tokens.float())
        return ClipOutput(F.normalize(image, dim=-1), F.normalize(text, dim=-1), self.logit_scale.exp())


def pairs(count: int, texts: int = 1) -> Batch:
    """Images with so many texts each; with several, the last image's second text is that of the first image."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    tokens = torch.randint(0, 9, (count, texts, WORDS), generator=generator)
    if texts > 1:
        tokens[-1, 1] = tokens[0, 1]
    return Batch(images, {"tokens": tokens}, ("",) * count, torch.arange(count))


def towers() -> Towers:
    torch.manual_seed(1)
    return Towers().train()


def loss_and_metrics(net: Towers, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The means of a whole batch."""
    task = ContrastiveTask()
    counts = task.counts(net, batch)
    terms = task.train_step(net, batch)
    return terms.value(counts), {n: (t.total / counts[t.count]).item() for n, t in terms.metrics.items()}


def test_the_loss_is_the_mean_of_both_directions() -> None:
    net, batch = towers(), pairs(4)
    loss, metrics = loss_and_metrics(net, batch)
    logits = net(batch.inputs, batch.labels["tokens"].flatten(0, 1)).logits  # type: ignore[index]
    rows = [-math.log(logits[i].softmax(0)[i].item()) for i in range(4)]
    columns = [-math.log(logits[:, i].softmax(0)[i].item()) for i in range(4)]
    assert loss.item() == pytest.approx((sum(rows) / 4 + sum(columns) / 4) / 2, rel=1e-5)
    assert metrics["chance"] == pytest.approx(1 / 4)  # one of four texts is right
    right = sum(logits[i].argmax().item() == i for i in range(4))
    assert metrics["R@1"] == pytest.approx(right / 4)


def test_images_with_equal_texts_are_positives_of_each_other() -> None:
    """Of two texts an image the first are contrasted with the first; where the second are equal, both are positives."""
    net, batch = towers(), pairs(3, texts=2)
    loss, metrics = loss_and_metrics(net, batch)
    out = net(batch.inputs, batch.labels["tokens"].flatten(0, 1))  # type: ignore[index]
    losses = []
    for text, positives in ((0, [[0], [1], [2]]), (1, [[0, 2], [1], [0, 2]])):
        logits = out.scale * out.image @ out.text[text::2].T
        for logs in (logits.log_softmax(1), logits.T.log_softmax(1)):
            losses.append(-sum(logs[i, right].mean() for i, right in enumerate(positives)) / 3)
    torch.testing.assert_close(loss, sum(losses) / 4)
    assert metrics["chance"] == pytest.approx((1 + 5 / 3) / 2 / 3)  # of three texts these are right on average


def test_training_mode_does_not_change_the_loss() -> None:
    """The task gathers over processes where it is told how many there are, not by the mode of the model."""
    net, batch = towers(), pairs(4)
    assert loss_and_metrics(net.train(), batch)[0] == loss_and_metrics(net.eval(), batch)[0]


def test_equal_texts_have_equal_keys_whatever_their_padding() -> None:
    one, other = torch.tensor([[3, 7, 9], [7, 3, 9]]), torch.tensor([[3, 7, 9, 0, 0]])
    assert keys_of(one)[0] == keys_of(other)[0]
    assert keys_of(one)[0] != keys_of(one)[1]
    assert len(keys_of(torch.ones(77, dtype=torch.long) + torch.eye(77, dtype=torch.long)).unique()) == 77


def test_ranks_count_ties() -> None:
    images = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    texts, owner = images[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 2])
    to_text, to_image = ranks(images, texts, owner)
    # Image 0's own text is as near as one of image 2's, the last; image 2 has a text of its own that is nearest.
    assert to_text.tolist() == [1, 0, 0]
    assert to_image.tolist() == [0, 0, 0, 1]
    same = torch.ones(5, 1)
    to_text, to_image = ranks(same, same, torch.arange(5))
    assert to_text.tolist() == to_image.tolist() == [4] * 5  # all vectors are equal


def collected(images: Tensor, texts: Tensor, num_texts: Tensor) -> Collected:
    return Collected({"image": images, "text": texts, "num_texts": num_texts}, ("",) * len(images))


def test_collapse_is_a_warning() -> None:
    task, count = ContrastiveTask(), 20
    ones = torch.ones(count, dtype=torch.long)
    spread = F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    good = task.measure(collected(spread, spread, ones))
    assert good.image_to_text == good.text_to_image == (1.0, 1.0, 1.0)
    assert good.selection == 1.0
    assert not good.warning
    assert good.chance == 0.05
    one = F.normalize(spread * 0.01 + torch.ones(16), dim=-1)
    bad = task.measure(collected(one, one.flip(0), ones))
    assert "collapsed" in bad.warning
    assert bad.alike > 0.98
    with pytest.raises(ConfigError, match="no pairs"):
        task.measure(Collected({}, ()))


def test_alike_is_the_mean_cosine_of_two_different_images() -> None:
    images = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    cosines = (images @ images.T)[~torch.eye(6, dtype=torch.bool)]
    assert retrieval_metrics(images, images, torch.arange(6)).alike == pytest.approx(cosines.mean().item(), abs=1e-6)
    alone = retrieval_metrics(images[:1], images[:1], torch.arange(1))
    assert (alone.alike, alone.warning) == (pytest.approx(0, abs=1e-6), "")
    assert "collapsed" in retrieval_metrics(images[[0, 0]], images[[0, 0]], torch.arange(2)).warning
    scalars = ContrastiveMetrics((0.2, 0.4, 0.6), (0.4, 0.8, 1.0), 0.1, 5, 5, ()).scalars()
    assert scalars == pytest.approx({"R@1": 0.3, "R@10": 0.8, "chance": 0.2, "alike": 0.1})


def test_a_draw_of_every_image_has_the_metrics_of_the_split() -> None:
    generator = torch.Generator().manual_seed(4)
    images = F.normalize(torch.randn(12, 3, generator=generator), dim=-1)
    num_texts = torch.tensor([1, 2, 3] * 4)
    texts = F.normalize(torch.randn(24, 3, generator=generator), dim=-1)
    metrics = retrieval_metrics(images, texts, torch.arange(12).repeat_interleave(num_texts))
    draw = retrieval_resampler(images, texts, num_texts)(torch.arange(12))
    for way, values in (("image to text", metrics.image_to_text), ("text to image", metrics.text_to_image)):
        assert len(set(values)) == 3
        assert [draw[f"{way} R@{most}"] for most in (1, 5, 10)] == pytest.approx(list(values))


def test_every_caption_counts_in_evaluation() -> None:
    task, net, batch = ContrastiveTask(), towers().eval(), pairs(3)
    tokens = torch.full((3, 2, WORDS), -1)
    tokens[:, 0] = batch.labels["tokens"][:, 0]  # type: ignore[index]
    tokens[1, 1] = 7
    batch = batch._replace(labels={"tokens": tokens})
    with torch.no_grad():
        out = task.eval_step(net, batch)
    assert out.text.shape == (4, WIDTH)
    tensors = task.collect(out, batch)
    assert tensors["num_texts"].tolist() == [1, 2, 1]
    own = Collected(tensors, ("a", "b", "c")).per_input("text", "num_texts")
    torch.testing.assert_close(own[1], out.text[1:3])
    metrics = task.measure(Collected(tensors, ("a", "b", "c")))
    assert (metrics.images, metrics.captions) == (3, 4)
    assert metrics.text_to_image[1] == 1.0
    images = task.input_batch(list(batch.inputs), [(SIDE, SIDE)] * 3, ("a", "b", "c"))
    assert has_text(images.labels["tokens"]).shape == (3, 0)  # type: ignore[index]


def test_an_image_that_is_drawn_twice_is_no_competitor_of_itself() -> None:
    images = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)), dim=-1)
    num_texts = torch.tensor([1, 2, 1, 1, 1, 2])
    texts = images.repeat_interleave(num_texts, dim=0)
    texts[-1] = images[0]  # a text that is nearest to another image than its own
    resample = retrieval_resampler(images, texts, num_texts)
    draw = torch.tensor([5, 5, 1, 2, 2, 3])
    assert resample(draw)["image to text R@1"] == 1.0
    assert resample(draw)["text to image R@1"] == pytest.approx(7 / 9)  # two of nine texts are that one
    cosines, different = images[draw] @ images[draw].T, draw[:, None] != draw
    assert resample(draw)["alike"] == pytest.approx(cosines[different].mean().item(), abs=1e-6)
    assert resample(torch.tensor([5, 5])).keys() == resample(draw).keys() - {"alike"}
