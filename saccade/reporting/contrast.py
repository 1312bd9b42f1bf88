"""What a report shows of images and captions: a matrix of some pairs, and the images that are found last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from saccade.reporting.draw import enlarge
from saccade.reporting.plots import STYLE, to_svg
from saccade.reporting.report import picture, template
from saccade.tasks.predictions import ContrastMetrics

LONGEST = 40  # letters of a caption beside the matrix


@dataclass(frozen=True)
class Retrieved:
    """An image ``[H, W, 3]`` uint8, its own caption, the nearest of those shown, and how many of all stand before."""

    name: str
    image: np.ndarray
    caption: str
    nearest: str
    rank: int


def contrast_tiles(metrics: ContrastMetrics) -> Mapping[str, str]:
    """The figures on top."""
    return {
        "image to text, R@1": f"{metrics.image_to_text[0]:.1%}",
        "text to image, R@1": f"{metrics.text_to_image[0]:.1%}",
        "image to text, R@10": f"{metrics.image_to_text[2]:.1%}",
        "R@1 by chance": f"{metrics.chance:.1%}",
    }


def contrast_section(
    images: Sequence[np.ndarray], captions: Sequence[str], cosines: np.ndarray, worst: Sequence[Retrieved], total: int
) -> Markup:
    """The matrix of some images and their captions ``[n, n]``, and the images that are found last of a total."""
    cards = [
        {"name": r.name, "picture": picture(enlarge(r.image)), "said": r.nearest, "true": r.caption, "rank": r.rank}
        for r in worst
    ]
    drawn = Markup(matrix(images, captions, cosines))
    return Markup(template("contrast").render(matrix=drawn, worst=cards, total=total))


def matrix(images: Sequence[np.ndarray], captions: Sequence[str], cosines: np.ndarray) -> str:
    """Cosines of n images and n captions ``[n, n]`` as SVG: a row a caption, a column an image; pairs are on the
    diagonal."""
    count = len(images)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10, 0.46 * count + 0.8), layout="constrained")
        axes = figure.subplots()
        axes.imshow(cosines.T, cmap="viridis", aspect="equal", extent=(-0.5, count - 0.5, count - 0.5, -0.5))
        for place, image in enumerate(images):
            axes.imshow(image, extent=(place - 0.46, place + 0.46, -0.6, -1.52), aspect="equal", origin="lower")
        for row in range(count):
            for column in range(count):
                value = cosines[column, row]
                bright = value > (cosines.min() + cosines.max()) / 2
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5,
                    color="#222222" if bright else "#eeeeee",
                )  # fmt: skip
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -1.55), xticks=[], yticks=range(count))
        axes.set_yticklabels([c if len(c) <= LONGEST else f"{c[:LONGEST]}…" for c in captions])
        for side in axes.spines.values():
            side.set_visible(False)
        return to_svg(figure)
