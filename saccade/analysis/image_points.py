"""Points of an image: as given by the user, in the model's input, and on a grid of patches."""

from saccade.data.preprocessing import Preprocessing
from saccade.errors import RecordingError
from saccade.nn.tokens import TokenLayout


def point_in_input(
    point: tuple[float, float], size: tuple[int, int], preprocessing: Preprocessing
) -> tuple[float, float]:
    """A point as fractions (x, y) in [0, 1] of the width and height of the model's input.

    Args:
        point: such fractions already, from the upper left corner; or a pixel of the image itself, in whole numbers of
            which one is above 1, column first.
        size: (H, W) of the image in pixels.
        preprocessing: of the model, which may crop or pad the image.

    Raises:
        RecordingError: neither, or a pixel outside of the image, or one that the model's crop leaves out.
    """
    x, y = point
    if all(0 <= value <= 1 for value in point):
        return x, y
    if x != round(x) or y != round(y) or min(point) < 0:
        raise RecordingError(f"a point is two fractions between 0 and 1, or a pixel in whole numbers, not {x:g}, {y:g}")
    height, width = size
    if x >= width or y >= height:
        raise RecordingError(f"pixel {x:g}, {y:g} is outside the image of {width} x {height} pixels")
    left, top, right, bottom = preprocessing.box_of(size)
    place = (x + 0.5 - left) / (right - left), (y + 0.5 - top) / (bottom - top)
    if not all(0 <= value <= 1 for value in place):
        raise RecordingError(
            f"pixel {x:g}, {y:g} is cropped away: the input is columns {left:.0f} to {right:.0f} and rows {top:.0f} "
            f"to {bottom:.0f} of the image"
        )
    return place


def patch_at(layout: TokenLayout, place: tuple[float, float]) -> tuple[int, tuple[float, float]]:
    """The token of the patch at (x, y), fractions of the input; and the patch's middle, likewise."""
    (rows, columns), (x, y) = layout.grid, place
    row, column = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
    return layout.index(row, column), ((column + 0.5) / columns, (row + 0.5) / rows)
