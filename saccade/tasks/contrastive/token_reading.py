"""An image and a text as a CLIP reads them."""

from saccade.engine.predictor import ImageLike, Predictor, name_of
from saccade.engine.reading import Prediction, Reading
from saccade.models.clip import CLIP
from saccade.tasks.contrastive.texts import tokenizer_of


def contrastive_reading(predictor: Predictor, image: ImageLike, text: str) -> Reading:
    """The patches of an image and the tokens of a text; the prediction is their similarity.

    Args:
        predictor: of a CLIP.
        image: the image.
        text: the text; what the token of its output attends to is all that the text encoder keeps of it.

    Raises:
        ConfigError: the model has no text encoder.
    """
    tokenizer = tokenizer_of(predictor)
    assert isinstance(predictor.model, CLIP)
    prepared = predictor.prepare(image)
    config = predictor.model.config.text
    tokens = config.without_padding(tokenizer(text))
    read = None if config.pooling == "mean" else int(config.output_index(tokens)[0])
    return Reading(
        name=f"{name_of(image, 0)}, {text!r}",
        arguments=(prepared[None].to(predictor.device), tokens.to(predictor.device)),
        words={"text": tuple(tokenizer.tokens(tokens[0].tolist()))},
        predictions=(Prediction("similarity", {"image": None, "text": read}, lambda outputs: outputs.logits[0, 0]),),
        image=prepared,
    )
