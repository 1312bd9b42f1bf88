"""Classes that a model was never trained on, told in words (Radford et al., arXiv 2103.00020, section 3.1).

A class is the mean of some sentences about it; an image is of the class whose vector is nearest to its own.

B images, K classes, M templates, E width of the common space.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.data.tokenizer import Tokenizer, from_files, open_tokenizer
from saccade.errors import ConfigError
from saccade.inference.predictor import ImageLike, Predictor, name_of
from saccade.models.clip import CLIP, LARGEST_SCALE
from saccade.tasks.predictions import Classification


class ZeroShot:
    """A CLIP with classes of one's own.

    Args:
        predictor: a CLIP.
        labels: K class names.
        templates: M sentences with ``{}`` where the name goes.
        tokenizer: of the model; found beside it, or in an installed package, unless given.

    Raises:
        ConfigError: the model reads no texts, or a template has no place for the name.
    """

    def __init__(
        self,
        predictor: Predictor,
        labels: Sequence[str],
        templates: Sequence[str] = ("a photo of a {}.",),
        tokenizer: Tokenizer | None = None,
    ):
        if not isinstance(predictor.model, CLIP):
            raise ConfigError(f"classes in words need a CLIP; this model is a {predictor.source.architecture}")
        if not labels or len(set(labels)) != len(labels):
            raise ConfigError(f"give at least one class, each once, not {', '.join(labels) or 'none'}")
        for template in templates:
            if "{}" not in template:
                raise ConfigError(f"the template {template!r} has no {{}} for the name of the class")
        self.predictor, self.model = predictor, predictor.model
        self.labels, self.templates = tuple(labels), tuple(templates)
        self.tokenizer = tokenizer or tokenizer_of(predictor)
        self.classes = self._classes()

    @torch.inference_mode()
    def _classes(self) -> Tensor:
        """A unit vector for each class: the mean over its sentences, ``[K, E]``."""
        means = []
        for label in self.labels:
            tokens = self.tokenizer([template.replace("{}", label) for template in self.templates])
            sentences = F.normalize(self.model.encode_text(tokens.to(self.predictor.device)).float(), dim=-1)
            means.append(sentences.mean(dim=0))
        return F.normalize(torch.stack(means), dim=-1)

    @torch.inference_mode()
    def scores(self, images: Tensor) -> Tensor:
        """Prepared images ``[B, C, H, W]`` -> probabilities ``[B, K]`` on the CPU."""
        vectors = F.normalize(self.model.encode_image(images.to(self.predictor.device)).float(), dim=-1)
        scale = self.model.logit_scale.exp().clamp(max=LARGEST_SCALE)
        return (scale * vectors @ self.classes.T).softmax(dim=-1).cpu()

    def stream(self, images: Sequence[ImageLike], *, top: int = 5, batch_size: int = 32) -> Iterator[Classification]:
        """What the images show, one after the other."""
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            scores = self.scores(torch.stack([self.predictor.prepare(image) for image in part]))
            for index, (image, row) in enumerate(zip(part, scores), start):
                values, places = row.topk(min(top, len(self.labels)))
                found = tuple((self.labels[i], v) for i, v in zip(places.tolist(), values.tolist()))
                yield Classification(name_of(image, index), *found[0], found)


def tokenizer_of(predictor: Predictor, vocabulary: str = "") -> Tokenizer:
    """The tokenizer of a CLIP: of a path, else the one beside the model, else OpenAI's where its size fits.

    Raises:
        ConfigError: the vocabulary has another size than the model's.
        DataError: there is none.
    """
    text = predictor.model.config.text
    files = predictor.source.vocabulary
    if vocabulary or not files:
        tokenizer = open_tokenizer(vocabulary, text.context_length)
    else:
        tokenizer = from_files(files, "the model's folder", text.context_length)
    if tokenizer.vocab_size != text.vocab_size:
        raise ConfigError(
            f"the vocabulary has {tokenizer.vocab_size} tokens and the model {text.vocab_size}: give the model's own"
        )
    return tokenizer
