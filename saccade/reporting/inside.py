"""Section of a report on a model's internals: positions, attention distance, filters."""

import numpy as np
from markupsafe import Markup

from saccade.analysis.attention_distance import AttentionDistance
from saccade.analysis.patch_filters import PatchFilters
from saccade.reporting.attention_plots import distance_figure
from saccade.reporting.plots import filter_grid, position_grid, to_svg
from saccade.reporting.report import picture, template


def inside_section(
    similarity: np.ndarray | None, filters: PatchFilters | None, distance: AttentionDistance | None
) -> Markup:
    """Similarity of positions ``[h, w, h, w]``, the patch embedding's filters, attention distances; parts that are None
    are left out."""
    if similarity is None and filters is None and distance is None:
        return Markup("")
    return Markup(
        template("saccade.reporting", "inside").render(
            distance="" if distance is None else Markup(to_svg(distance_figure(distance))),
            without_patches=0 if distance is None else int(np.isnan(distance.pixels).sum()),
            positions="" if similarity is None else picture(position_grid(similarity)),
            filters="" if filters is None else picture(filter_grid(filters.filters)),
        )
    )
