"""Report of images and captions: the cosines of some pairs, and the images with the worst ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from saccade.analysis.attention_maps import explain
from saccade.data.images import rgb_pixels
from saccade.data.samples import CaptionSource, DataSplits
from saccade.engine.predictor import ImageLike, Predictor
from saccade.engine.reading import Reading
from saccade.engine.report import Drawing, ReportSection, TaskReport
from saccade.models.clip import CLIP
from saccade.reporting.draw import enlarge, explain_figure
from saccade.reporting.plots import STYLE, to_svg
from saccade.reporting.report import picture, template
from saccade.tasks.contrastive.metrics import ContrastiveMetrics
from saccade.tasks.contrastive.texts import tokenizer_of
from saccade.tasks.contrastive.token_reading import contrastive_reading
from saccade.tasks.contrastive.zero_shot import zero_shot_classifier

SHOWN = 12  # images that the matrix compares with as many captions
MAX_CAPTION = 40  # characters of a caption beside the matrix


@dataclass(frozen=True)
class Retrieved:
    """An image with a low rank.

    Attributes:
        name: of the image.
        image: ``[H, W, 3]`` uint8.
        caption: its own.
        nearest: the nearest of the captions in the matrix.
        rank: number of captions of other images that rank before its own.
    """

    name: str
    image: np.ndarray
    caption: str
    nearest: str
    rank: int


class ContrastiveReport(TaskReport):
    """Retrieval, and what the image encoder attends to."""

    def section(self, predictor: Predictor, splits: DataSplits, predictions: Mapping[str, Any]) -> ReportSection:
        metrics = ContrastiveMetrics.from_dict(predictions["metrics"])
        source = cast(CaptionSource, splits.test if predictions["split"] == "test" else splits.val)
        return ReportSection(metrics, contrastive_tiles(metrics), contrastive_section(predictor, source, metrics))

    def explain(
        self, predictor: Predictor, inputs: Sequence[ImageLike], *, budget: str, score: bool = False
    ) -> Drawing:
        """The rollout of all layers of the image encoder and each head of the last."""
        explanations = [explain(predictor, image, budget=budget) for image in inputs]
        return Drawing(
            explain_figure(explanations), [f"{e.name}: attention of the image encoder" for e in explanations]
        )

    def classifier(self, predictor: Predictor, texts: Sequence[str]) -> Predictor:
        return zero_shot_classifier(predictor, texts)

    def reading(self, predictor: Predictor, value: ImageLike, text: str | None = None) -> Reading | None:
        return None if text is None else contrastive_reading(predictor, value, text)


REPORT = ContrastiveReport()


def contrastive_tiles(metrics: ContrastiveMetrics) -> Mapping[str, str]:
    """The metrics at the top of the page."""
    return {
        "image to text, R@1": f"{metrics.image_to_text[0]:.1%}",
        "text to image, R@1": f"{metrics.text_to_image[0]:.1%}",
        "image to text, R@10": f"{metrics.image_to_text[2]:.1%}",
        "R@1 by chance": f"{metrics.chance:.1%}",
    }


@torch.inference_mode()
def contrastive_section(predictor: Predictor, source: CaptionSource, metrics: ContrastiveMetrics) -> Markup:
    """The matrix of some images and their captions, and the images with the worst ranks."""
    assert isinstance(predictor.model, CLIP)
    worst = sorted(range(len(source)), key=lambda i: -metrics.ranks[i])[: SHOWN // 2]
    others = [i for i in range(len(source)) if i not in worst][: SHOWN - len(worst)]
    pictures, captions = zip(*(source.with_captions(i, predictor.preprocess.channels) for i in (*others, *worst)))
    images = torch.stack([predictor.prepare(image) for image in pictures])
    texts = [own[0] for own in captions]
    outputs = predictor.model(images, tokenizer_of(predictor)(texts))
    cosines = (outputs.image @ outputs.text.T).float().numpy()
    pixels = [rgb_pixels(image) for image in pictures]
    rows = []
    for row, index in enumerate(worst, len(others)):
        nearest = texts[int(cosines[row].argmax())]
        rows.append(Retrieved(source.names[index], pixels[row], texts[row], nearest, metrics.ranks[index]))
    cards = [
        {"name": r.name, "picture": picture(enlarge(r.image)), "nearest": r.nearest, "own": r.caption, "rank": r.rank}
        for r in rows
    ]
    matrix = Markup(cosine_matrix(pixels, texts, cosines))
    html = template("saccade.tasks.contrastive", "report").render(matrix=matrix, worst=cards, total=len(source))
    return Markup(html)


def cosine_matrix(images: Sequence[np.ndarray], captions: Sequence[str], cosines: np.ndarray) -> str:
    """Cosines of n images and n captions ``[n, n]`` as SVG: a row for each caption, a column for each image; the pairs
    are on the diagonal."""
    count = len(images)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10, 0.46 * count + 0.8), layout="constrained")
        axes = figure.subplots()
        axes.imshow(cosines.T, cmap="viridis", aspect="equal", extent=(-0.5, count - 0.5, count - 0.5, -0.5))
        for column, image in enumerate(images):
            axes.imshow(image, extent=(column - 0.46, column + 0.46, -0.6, -1.52), aspect="equal", origin="lower")
        for row in range(count):
            for column in range(count):
                value = cosines[column, row]
                bright = value > (cosines.min() + cosines.max()) / 2
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5,
                    color="#222222" if bright else "#eeeeee",
                )  # fmt: skip
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -1.55), xticks=[], yticks=range(count))
        axes.set_yticklabels([c if len(c) <= MAX_CAPTION else f"{c[:MAX_CAPTION]}…" for c in captions])
        for side in axes.spines.values():
            side.set_visible(False)
        return to_svg(figure)
