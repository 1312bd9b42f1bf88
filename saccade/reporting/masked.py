"""What a report shows of masked pre-training: images painted again."""

from collections.abc import Sequence

from markupsafe import Markup

from saccade.analysis.painting import Painting
from saccade.reporting.draw import enlarge
from saccade.reporting.report import picture, template


def masked_section(paintings: Sequence[Painting]) -> Markup:
    """Each image as the model sees it, as it paints it, and as it is."""
    rows = [
        {"name": p.name, **{part: picture(enlarge(getattr(p, part))) for part in ("seen", "painted", "image")}}
        for p in paintings
    ]
    return Markup(template("masked").render(paintings=rows))
