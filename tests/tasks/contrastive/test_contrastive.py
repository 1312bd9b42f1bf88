"""The contrast by hand, ranks with ties, collapse, and two processes that learn as one."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.models.clip import ClipOutput
from saccade.tasks.contrastive import ContrastiveTask, Pairs, keys_of, ranks

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


def test_the_loss_is_the_mean_of_both_directions() -> None:
    net, task, batch = towers(), ContrastiveTask(), pairs(4)
    out = task.run(net, batch)
    loss, figures = task.step(out, batch)
    logits = out.own.logits
    rows = [-math.log(logits[i].softmax(0)[i].item()) for i in range(4)]
    columns = [-math.log(logits[:, i].softmax(0)[i].item()) for i in range(4)]
    assert loss.item() == pytest.approx((sum(rows) / 4 + sum(columns) / 4) / 2, rel=1e-5)
    assert figures["chance"].item() == 1.0  # of four guesses one is right


def test_images_with_the_same_text_are_not_told_apart() -> None:
    """Of two texts an image the first are contrasted with the first; where the second are equal, each is an answer."""
    net, task, batch = towers(), ContrastiveTask(), pairs(3, texts=2)
    loss, figures = task.step(task.run(net, batch), batch)
    out = net(batch.inputs, batch.labels["tokens"].flatten(0, 1))  # type: ignore[index]
    losses = []
    for text, answers in ((0, [[0], [1], [2]]), (1, [[0, 2], [1], [0, 2]])):
        logits = out.scale * out.image @ out.text[text::2].T
        for logs in (logits.log_softmax(1), logits.T.log_softmax(1)):
            losses.append(-sum(logs[i, right].mean() for i, right in enumerate(answers)) / 3)
    torch.testing.assert_close(loss, sum(losses) / 4)
    assert figures["chance"].item() == pytest.approx((1 + 5 / 3) / 2)  # guesses of three that are right


def test_equal_texts_have_equal_keys_however_they_are_filled_up() -> None:
    one, other = torch.tensor([[3, 7, 9], [7, 3, 9]]), torch.tensor([[3, 7, 9, 0, 0]])
    assert keys_of(one)[0] == keys_of(other)[0]
    assert keys_of(one)[0] != keys_of(one)[1]


def _train(rank: int, world: int, port: int, results) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=world)
    net, task, batch = DistributedDataParallel(towers()), ContrastiveTask(), pairs(8, texts=2)
    share = batch.rows(slice(rank * 4, (rank + 1) * 4))
    loss, figures = task.step(task.run(net, share), share)
    loss.backward()
    told = torch.stack((loss.detach(), figures["R@1"].float()))
    dist.all_reduce(told)
    if rank == 0:
        results.put(([p.grad.tolist() for p in net.module.parameters()], told[0].item() / world, told[1].item()))
    dist.destroy_process_group()


def test_two_processes_learn_as_one(unused_port: int) -> None:
    context = mp.get_context("spawn")
    results = context.SimpleQueue()
    mp.spawn(_train, args=(2, unused_port, results), nprocs=2)
    gradients, loss, right = results.get()
    net, task, batch = towers(), ContrastiveTask(), pairs(8, texts=2)
    alone, figures = task.step(task.run(net, batch), batch)
    alone.backward()
    assert loss == pytest.approx(alone.item(), rel=1e-5)
    assert right == figures["R@1"].item()
    for theirs, parameter in zip(gradients, net.parameters()):
        assert parameter.grad is not None
        torch.testing.assert_close(torch.tensor(theirs), parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_ranks_count_strangers_and_ties() -> None:
    images = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    texts, owner = images[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 2])
    to_text, to_image = ranks(images, texts, owner)
    # Image 0's own text is as near as a stranger's, the last; image 2 has a text of its own that is nearest.
    assert to_text.tolist() == [1, 0, 0]
    assert to_image.tolist() == [0, 0, 0, 1]
    same = torch.ones(5, 1)
    to_text, to_image = ranks(same, same, torch.arange(5))
    assert to_text.tolist() == to_image.tolist() == [4] * 5  # where all are one, nothing is found


def test_collapse_is_told() -> None:
    task, count = ContrastiveTask(), 20
    spread = F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    good = task.measure(spread, spread[:, None])
    assert good.image_to_text == good.text_to_image == (1.0, 1.0, 1.0)
    assert good.goal == 1.0
    assert not good.warning
    assert good.chance == 0.05
    one = F.normalize(spread * 0.01 + torch.ones(16), dim=-1)
    bad = task.measure(one, one.flip(0)[:, None])
    assert "collapsed" in bad.warning
    assert bad.alike > 0.98
    with pytest.raises(ConfigError):
        task.measure(spread[:0], spread[:0, None])


def test_every_caption_counts_when_measured() -> None:
    task, net, batch = ContrastiveTask(), towers().eval(), pairs(3)
    tokens = torch.full((3, 2, WORDS), -1)
    tokens[:, 0] = batch.labels["tokens"][:, 0]
    tokens[1, 1] = 7
    batch = batch._replace(labels={"tokens": tokens})
    out = task.run(net, batch)
    assert isinstance(out, Pairs)
    assert out.own.text.shape == (4, WIDTH)
    images, texts = task.keep(out, batch)
    assert texts.shape == (3, 2, WIDTH)
    assert texts[0, 1].isnan().all()
    torch.testing.assert_close(texts[1], out.own.text[1:3])
    assert task.measure(images.detach(), texts.detach()).captions == 4
