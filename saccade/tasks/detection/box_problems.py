"""Possible errors in the coordinates of a box, and their probable corrections."""

from typing import Literal

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Kind = Literal["empty", "negative", "outside", "corners"]
DESCRIPTIONS = {
    "empty": "without area",
    "negative": "with a negative width or height",
    "outside": "beyond the edges of the image",
    "corners": "that looks like left, top, right, bottom in place of left, top, width, height",
}
TOLERANCE = 1.0  # pixels beyond an edge that are taken for rounding


def find_problem(box: Box, width: int, height: int) -> Kind | None:
    """The kind of problem of a box (left, top, right, bottom) in an image of that size; None for a valid box."""
    left, top, right, bottom = box
    if right < left or bottom < top:
        return "negative"
    if right == left or bottom == top:
        return "empty"
    beyond = min(left, top) < -TOLERANCE or right > width + TOLERANCE or bottom > height + TOLERANCE
    if not beyond:
        return None
    # As (left, top, width, height) it extends beyond the image, as two corners it does not.
    corner = (right - left, bottom - top)
    inside = left < corner[0] <= width + TOLERANCE and top < corner[1] <= height + TOLERANCE and min(left, top) >= 0
    return "corners" if inside else "outside"


def correction(box: Box, kind: Kind, width: int, height: int) -> Box | None:
    """The probable correction of an invalid box; None if there is none."""
    left, top, right, bottom = box
    if kind == "corners":
        left, top, right, bottom = left, top, right - left, bottom - top
    elif kind == "negative":
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
    fixed = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    return fixed if fixed[2] > fixed[0] and fixed[3] > fixed[1] else None
