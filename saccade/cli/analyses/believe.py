"""`saccade analyze` faithfulness, sanity: which maps are reliable."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions, PlaceOptions, Texts, reader
from saccade.cli.options import MapMethod

if TYPE_CHECKING:
    from saccade.analysis.image_maps import Method
    from saccade.engine.predictor import Predictor

Methods = Annotated[list[MapMethod] | None, Parameter(consume_multiple=True, negative="")]


def faithfulness(
    model: str,
    data: str,
    /,
    *,
    methods: Methods = None,
    masks: int | None = None,
    text: Texts = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Insertion, deletion and SaCo of maps: does the class depend on what they mark?

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg"; --images 100 give narrow intervals.
    methods
        attention, rollout, relevance, attnlrp and grad-cam by default; grad-cam for a network without attention.
    masks
        Random masks of rise for each image (default: 1000).
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.faithfulness import faithfulness as measure
    from saccade.analysis.rise import RiseMasks
    from saccade.cli.counting import counting
    from saccade.reporting.faithfulness_plots import faithfulness_figure

    predictor = reader((opened or ModelOptions()).load(model), text)
    images = (inputs or DataOptions()).open(predictor, data)
    with counting("images") as advance:
        made = measure(
            predictor, images, methods or default_methods(predictor),
            masks=None if masks is None else RiseMasks(masks), on_images=advance,
        )  # fmt: skip
    delivery.deliver("faithfulness", made, lambda: faithfulness_figure(made))


def sanity(
    model: str,
    image: str,
    /,
    *,
    methods: Methods = None,
    place: PlaceOptions | None = None,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Sanity check of maps: their similarity while the weights are randomised from the head to the input.

    Of a detector the maps are of its best box, or of --query; of depth of the place at --point.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file.
    methods
        attention, rollout, relevance, attnlrp and grad-cam by default; grad-cam for a network without attention.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.sanity import sanity_check
    from saccade.reporting.faithfulness_plots import sanity_figure

    places = place or PlaceOptions()
    predictor = reader((opened or ModelOptions()).load(model), places.text)
    made = sanity_check(predictor, image, methods or default_methods(predictor), query=places.query, point=places.point)
    delivery.deliver("sanity", made, lambda: sanity_figure(made))


def default_methods(predictor: "Predictor") -> "list[Method]":
    """Methods for which a network has maps."""
    from saccade.analysis.attnlrp import has_rules
    from saccade.analysis.inputs import Embedder, has_attention, image_reader
    from saccade.models.perceiver import Perceiver

    if not has_attention(predictor.model):
        return ["grad-cam"]
    if isinstance(image_reader(predictor), Embedder):  # no classes
        return ["attention", "rollout"]
    tokens = predictor.model.token_layout(predictor.model.config.image_size) is not None
    rules: list[Method] = ["attnlrp"] if tokens and has_rules(predictor.model) else []
    maps: list[Method] = [] if isinstance(predictor.model, Perceiver) else ["grad-cam"]  # latents lie at no places
    return ["attention", "rollout", "relevance", *rules, *maps]
