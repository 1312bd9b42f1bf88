"""What a report shows of a classifier: confusion, calibration, classes, mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from saccade.analysis.attention_maps import Explanation
from saccade.reporting.draw import enlarge, overlay
from saccade.reporting.plots import reliability
from saccade.reporting.report import picture, template
from saccade.tasks.predictions import ClassificationMetrics

LARGEST_CONFUSION = 40  # classes; above it the commonest confusions are listed instead of the whole matrix
LARGEST_TABLE = 200


@dataclass(frozen=True)
class Mistake:
    """A picture that the model is sure about, and wrong."""

    truth: str
    explanation: Explanation


def classification_tiles(metrics: ClassificationMetrics) -> Mapping[str, str]:
    """The figures on top."""
    top5 = {} if metrics.top5 is None else {"top-5": f"{100 * metrics.top5:.2f} %"}
    return {
        "accuracy": f"{100 * metrics.accuracy:.2f} %",
        **top5,
        "negative log likelihood (nats)": f"{metrics.nll:.3f}",
        "calibration error": f"{100 * metrics.calibration_error:.1f} %",
    }


def classification_section(
    metrics: ClassificationMetrics, labels: Sequence[str], mistakes: Sequence[Mistake], examples: Sequence[Explanation]
) -> Markup:
    """The results.

    Args:
        metrics: of the split.
        labels: class names.
        mistakes: the most confident first.
        examples: some right answers, so that mistakes can be compared.
    """
    small = len(labels) <= LARGEST_CONFUSION
    return Markup(
        template("classification").render(
            labels=labels,
            reliability=Markup(reliability(metrics.reliability)),
            confusion=confusion_rows(metrics.confusion) if small else [],
            confusions=common_confusions(metrics.confusion, labels),
            classes=sorted(metrics.per_class, key=lambda row: row.f1)[:LARGEST_TABLE],
            mistakes=[card(m.explanation, m.truth) for m in mistakes],
            examples=[card(e, "") for e in examples],
        )
    )


def confusion_rows(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """Each cell's number and its share of its row, for the shade."""
    return [
        [{"count": n, "share": n / max(sum(row), 1), "right": i == j} for j, n in enumerate(row)]
        for i, row in enumerate(confusion)
    ]


def common_confusions(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], most: int = 12
) -> list[tuple[str, str, int]]:
    """(true class, predicted class, images), the commonest first."""
    pairs = [(labels[i], labels[j], n) for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def card(explanation: Explanation, truth: str) -> dict[str, str]:
    """A picture beside where the model looked, with what it says."""
    return {
        "name": explanation.name,
        "label": explanation.label,
        "score": "" if explanation.score is None else f"{explanation.score:.0%}",
        "truth": truth,
        "image": picture(enlarge(explanation.image)),
        "attention": picture(overlay(explanation.image, explanation.rollout)),
    }
