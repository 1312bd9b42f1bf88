"""Search images by a text or by another image: the nearest vectors of a folder.

The vectors are computed once and cached; a search is then one matrix product (or, for millions of images, a graph index
of faiss).

N images, E width of the vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saccade.data.config import DataConfig
from saccade.data.image_folder import open_unlabelled
from saccade.data.images import rgb_pixels
from saccade.data.samples import ImageSource
from saccade.engine.features import extract
from saccade.engine.predictor import ImageLike, Predictor
from saccade.errors import ConfigError
from saccade.tasks.contrastive.texts import embed_texts, tokenizer_of

LINKS, CANDIDATES = 32, 128  # of faiss' graph: neighbours of a node, nodes visited in a search


@dataclass(frozen=True)
class Hit:
    """An image, and its cosine with the query."""

    image: str
    score: float


class SearchIndex:
    """The images of a data set by their vectors.

    Args:
        predictor: any model; a CLIP for queries by text.
        data: images: a folder at any depth, a zip, tar shards.
        cache: folder that keeps the vectors; None keeps nothing.
        batch_size: images at once.
        approximate: search a graph of faiss (`pip install saccade[search]`) instead of comparing with every image.
        vocabulary: see :func:`~saccade.tasks.contrastive.texts.tokenizer_of`.
        on_images: called with the number of images done so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        data: str,
        *,
        cache: Path | None = None,
        batch_size: int = 32,
        approximate: bool = False,
        vocabulary: str = "",
        on_images: Callable[[int], None] | None = None,
    ):
        self.predictor, self.vocabulary = predictor, vocabulary
        splits = open_unlabelled(data, DataConfig(test_fraction=0.0, val_fraction=0.0))
        self.parts = [cast(ImageSource, p) for p in (splits.train, splits.val, splits.test) if p is not None]
        self.names = [name for part in self.parts for name in part.names]
        vectors, self.cached = [], True
        for part in self.parts:
            features = extract(
                predictor, part, splits.fingerprint, cache=cache, batch_size=batch_size, on_images=on_images
            )
            vectors.append(features.values)
            self.cached &= features.cached
        self.vectors = F.normalize(torch.cat(vectors).float(), dim=-1)  # [N, E]
        self.graph = _graph(self.vectors) if approximate else None

    def by_text(self, text: str, top: int = 5) -> list[Hit]:
        """The images nearest to a text, best first.

        Raises:
            ConfigError: the model has no text encoder.
        """
        tokenizer = tokenizer_of(self.predictor, self.vocabulary)
        return self.nearest(embed_texts(self.predictor, tokenizer, [text])[0], top)

    @torch.inference_mode()
    def by_image(self, image: ImageLike, top: int = 5) -> list[Hit]:
        """The images nearest to an image, best first."""
        inputs = self.predictor.prepare(image)[None].to(self.predictor.device)
        return self.nearest(F.normalize(self.predictor.model.embed(inputs).float(), dim=-1)[0], top)

    def nearest(self, vector: Tensor, top: int = 5) -> list[Hit]:
        """The images whose vectors are nearest to a unit vector ``[E]``, best first."""
        if top < 1:
            raise ConfigError(f"top must be at least 1, not {top}")
        count = min(top, len(self.names))
        if self.graph is None:
            scores, indices = (self.vectors @ vector.cpu()).topk(count)
            return [Hit(self.names[i], s) for i, s in zip(indices.tolist(), scores.tolist())]
        scores, indices = self.graph.search(vector.cpu().numpy()[None], count)
        return [Hit(self.names[i], float(s)) for i, s in zip(indices[0].tolist(), scores[0]) if i >= 0]

    def picture(self, hit: Hit) -> Image.Image:
        """The image of a hit, in RGB."""
        for part in self.parts:
            if hit.image in part.names:
                image = part.image(list(part.names).index(hit.image), self.predictor.preprocess.channels)
                return Image.fromarray(rgb_pixels(image))
        raise ConfigError(f"{hit.image} is not in this index")


def _graph(vectors: Tensor):
    try:
        import faiss
    except ImportError:
        raise ConfigError("an approximate search needs one more package: pip install saccade[search]") from None
    graph = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = CANDIDATES
    graph.add(vectors.numpy())
    return graph
