"""What a CLIP reads in a text: the attention of its text encoder, and what in an image and a text supports the pair.

L tokens of a text, N tokens of an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from saccade.analysis.attention_maps import reads_class_token
from saccade.analysis.relevance import stream_relevance
from saccade.analysis.streams import IMAGE, Readout, Step, output_stream, recorded_steps
from saccade.engine.attention_groups import AttentionGroup, Axis, PairRelevance
from saccade.engine.predictor import Predictor
from saccade.errors import RecordingError
from saccade.models.clip import CLIP
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode
from saccade.nn.recording import record
from saccade.nn.tokens import TokenLayout
from saccade.tasks.contrastive.prompts import TEMPLATE
from saccade.tasks.contrastive.texts import tokenizer_of
from saccade.tasks.contrastive.zero_shot import ZeroShot

TEXT = "text"  # the stream of the text encoder's tokens, as the model names it


class TextReader:
    """The text encoder of a CLIP with its tokenizer.

    Args:
        predictor: a CLIP.
        template: the prompt of a label, with ``{}`` in its place.

    Raises:
        ConfigError: the model has no text encoder.
        DataError: there is no vocabulary.
    """

    def __init__(self, predictor: Predictor, template: str = TEMPLATE):
        self.predictor, self.template = predictor, template
        self.tokenizer = tokenizer_of(predictor)
        assert isinstance(predictor.model, CLIP)
        self.model = predictor.model

    def scores(self, images: Tensor, labels: Sequence[str]) -> Tensor:
        """Images ``[B, C, H, W]`` and K labels -> the probability of each label, ``[B, K]``."""
        return ZeroShot(self.predictor, labels, (self.template,), self.tokenizer).scores(images)

    def tokens(self, label: str) -> Tensor:
        """The prompt of a label, ``[1, L]``, without padding if no token attends to it."""
        ids = self.tokenizer([self.template.replace("{}", label)])
        return self.model.config.text.without_padding(ids).to(self.predictor.device)

    def names(self, tokens: Tensor) -> tuple[str, ...]:
        """The text of each token of ``[1, L]``."""
        return tuple(self.tokenizer.tokens(tokens[0].tolist()))

    def read(self, text: str) -> list[AttentionGroup]:
        """Run the text encoder on the prompt of a label: its tokens among themselves, the end token first."""
        tokens = self.tokens(text)
        with matmul_precision(self.predictor.matmul_precision), evaluation_mode(self.model):
            self.model.encode_text(tokens)
        axis = Axis("prompt", self.names(tokens), kind="input")
        return [AttentionGroup("text", "text tokens", ("text.*",), axis, axis, first=len(axis) - 1)]

    def relevance(self, image: Tensor, text: str, budget: int) -> PairRelevance:
        """Which patches of an image and which tokens of a text support their similarity (Chefer et al., arXiv
        2103.15679, section 3.3: self-attention of each encoder, weighted by the gradient of the cosine).

        Args:
            image: prepared, ``[1, C, H, W]``.
            text: a label.
            budget: bytes that the recorded attention may take.

        Raises:
            RecordingError: the image encoder has no attention over patches, or the recording is larger.
        """
        tokens = self.tokens(text)
        with (
            torch.enable_grad(),
            evaluation_mode(self.model),
            matmul_precision(self.predictor.matmul_precision),
            record(self.model, tokens=False, budget=budget) as trace,
        ):
            outputs = self.model(image.to(self.predictor.device).requires_grad_(), tokens)
            cosine = (outputs.image * outputs.text).sum()
        layout = self.model.token_layout((image.shape[-2], image.shape[-1]))
        if layout is None:
            raise RecordingError("the image encoder of this CLIP is convolutional: it has no relevance of patches")
        paths = list(trace.attention)
        gradients = torch.autograd.grad(cosine, [trace.attention[path] for path in paths], allow_unused=True)
        steps = recorded_steps(
            trace, self.model, {path: gradient for path, gradient in zip(paths, gradients) if gradient is not None}
        )
        seeing = [step for step in steps if step.keys == IMAGE]
        reading = [step for step in steps if step.keys == TEXT]
        if not seeing:
            raise RecordingError("the image encoder of this CLIP has no self-attention over patches")
        first = reads_class_token(self.model.backbone, layout) or output_stream(seeing) != IMAGE
        patches = gathered(seeing, IMAGE, 0 if first else None, layout)[layout.num_prefix :]
        values = torch.zeros(tokens.shape[1])
        if reading:
            last = None if self.model.config.text.pooling == "mean" else tokens.shape[1] - 1
            values = gathered(reading, TEXT, last, layout)
        return PairRelevance(cosine.item(), patches, self.names(tokens), values)


def gathered(steps: Sequence[Step], stream: str, token: int | None, layout: TokenLayout) -> Tensor:
    """The relevance of each token of a stream for what is read behind it, ``[N]``, without the part that reaches the
    output past all attention.

    Args:
        steps: attention of one encoder, with gradients.
        stream: of its input tokens.
        token: that is read; None for the mean of all.
        layout: of the tokens of an image.
    """
    output = output_stream(steps)
    rows = Readout(output, token).rows(steps, layout)
    relevance = rows @ stream_relevance(steps)[stream]
    return (relevance - rows if output == stream else relevance)[0]
