"""The explorer's page as one self-contained file with the recorded data, which fetches nothing."""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import torch

from saccade.errors import RecordingError
from saccade.explorer.about import describe_all, describe_distance
from saccade.explorer.change import Change
from saccade.explorer.describe import describe_model, describe_pair
from saccade.explorer.recording import OpenImage, OpenText, Recording
from saccade.explorer.session import Session, describe_input, thumbnail
from saccade.explorer.streams import Stream
from saccade.explorer.wire import byte_rows, image_type
from saccade.version import __version__

IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z]+\.js)";\n', re.MULTILINE)
STYLES = ("page.css", "panels.css", "tasks.css", "tabs.css")
EXPORT = re.compile(r"^export (?=async function |function |class |const |let )", re.MULTILINE)


def export_page(session: Session) -> str:
    """HTML with every model on every image of a session.

    Attention is stored with one byte per weight, scaled to the maximum of its row, and compressed. The page's content
    security policy allows the scripts and styles in it alone, and no request.

    Raises:
        ImageError, RecordingError: as for :meth:`Session.recording`.
    """
    return assemble_page(
        models=[
            {**describe_model(key, model), "about": describe_all(model.predictor)}
            for key, model in session.models.items()
        ],
        images=[
            describe_input(key, one) | ({"thumbnail": data_url(thumbnail(one))} if isinstance(one, OpenImage) else {})
            for key, one in session.inputs.items()
        ],
        recordings={
            f"{model}/{key}": pack(session.recording(model, key, Change()))
            for model in session.models
            for key in session.inputs
            if session.can_read(model, key)
        },
        pairs={f"{model}/{image}": pack_pairs(session, model, image) for model, image in pairs_of(session)},
    )


def pairs_of(session: Session) -> list[tuple[str, str]]:
    """(model, image) of every model of images and texts on every image."""
    return [
        (key, image) for key, model in session.models.items() if model.texts is not None for image in session.images
    ]


def pack_pairs(session: Session, model: str, image: str) -> dict[str, Any]:
    """The texts of a session as labels of one image: their probabilities, and the relevance of each pair."""
    labels = [one.name for one in session.inputs.values() if isinstance(one, OpenText)]
    if not labels:
        return {"top": [], "pairs": {}}
    pairs = {label: describe_pair(session.pair(model, image, label, Change())) for label in labels}
    return {"top": session.score_labels(model, image, labels, Change()), "pairs": pairs}


def assemble_page(
    models: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    recordings: Mapping[str, Mapping[str, Any]],
    pairs: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The page of described models and inputs, of packed recordings by "MODEL/INPUT", and of images with texts by
    "MODEL/IMAGE"."""
    data = {
        "version": __version__, "models": models, "images": images, "recordings": recordings, "pairs": pairs or {},
    }  # fmt: skip
    return assemble(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))


def pack(recording: Recording) -> dict[str, Any]:
    """A recording as JSON values: its description with images and weights."""
    described = recording.describe()
    for values, stream in zip(described["streams"], recording.streams):
        values["weights"] = [packed(byte_rows([layer.weights.flatten(0, 1)])) for layer in stream.layers]
        values["rollout"] = packed(byte_rows([whole_rollout(stream)])) if stream.is_self else None
    drawn = data_url(recording.drawn) if recording.drawn else ""
    shown = data_url(recording.shown) if recording.shown else ""
    values = None if recording.values is None else packed(recording.values.astype("<f4").tobytes())
    try:
        distance = describe_distance(recording)
    except RecordingError as error:
        distance = {"error": str(error)}
    return {**described, "shown": shown, "drawnImage": drawn, "values": values, "distance": distance}


def whole_rollout(stream: Stream) -> torch.Tensor:
    """The rollout of every query, ``[N, N]`` float16."""
    return torch.stack([stream.rollout(query) for query in range(stream.num_queries)])


def packed(content: bytes) -> str:
    """Compressed, as text; the page's DecompressionStream reads the same format."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def data_url(content: bytes) -> str:
    return f"data:{image_type(content)};base64,{base64.b64encode(content).decode('ascii')}"


def assemble(data: str) -> str:
    """The page with its styles, its modules as one script, and the data."""
    html, styles = page_text("index.html"), "".join(page_text(name) for name in STYLES)
    script = bundle("file.js")
    policy = (
        f"default-src 'none'; img-src data:; script-src '{digest(script)}'; style-src '{digest(styles)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    html = re.sub(r'<link rel="stylesheet" [^>]*>\n', "", html)
    html = re.sub(r'<script type="module" [^>]*></script>\n', "", html)
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>'
    html = html.replace("<title>", head, 1).replace("</head>", f"<style>{styles}</style>\n</head>", 1)
    end = f'<script type="application/json" id="data">{data}</script>\n<script type="module">{script}</script>\n</body>'
    return html.replace("</body>", end, 1)


def bundle(name: str) -> str:
    """A module and all its imports as one script. Names at the top level of the page's modules are unique."""
    parts: dict[str, str] = {}

    def visit(module: str) -> None:
        if module in parts:
            return
        text = page_text(module)
        for imported in IMPORT.findall(text):  # in no circle
            visit(imported)
        parts[module] = EXPORT.sub("", IMPORT.sub("", text))

    visit(name)
    return "\n".join(parts.values())


def digest(text: str) -> str:
    """The source expression of a content security policy for an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def page_text(name: str) -> str:
    return (files("saccade.explorer") / "page" / name).read_text("utf-8")
