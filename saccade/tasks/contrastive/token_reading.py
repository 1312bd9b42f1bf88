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
        text: the text; what its end token attends to is all that the text encoder keeps of it.

    Raises:
        ConfigError: the model has no text encoder.
    """
    tokenizer = tokenizer_of(predictor)
    assert isinstance(predictor.model, CLIP)
    prepared = predictor.prepare(image)
    tokens = tokenizer(text)
    end = int(tokens[0].argmax())
    tokens = tokens[:, : end + 1]  # no token attends to what follows it
    read = {"end": end, "mean": None}[predictor.model.config.text.pooling]
    return Reading(
        name=f"{name_of(image, 0)}, {text!r}",
        arguments=(prepared[None].to(predictor.device), tokens.to(predictor.device)),
        words={"text": tuple(tokenizer.tokens(tokens[0].tolist()))},
        predictions=(Prediction("similarity", {"image": None, "text": read}, lambda outputs: outputs.logits[0, 0]),),
        image=prepared,
    )
