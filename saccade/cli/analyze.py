"""`saccade analyze`: every analysis by name; its file in `saccade/cli/analyses` is loaded when it runs."""

from cyclopts import App

ANALYSES = {  # name -> where it is, what it measures
    "distance": ("attention:distance", "How far each head looks, in pixels: mean and spread over a data set."),
    "attention": ("attention:attention", "Every layer and head of one query over an image: class token, point, query."),
    "rollout": ("attention:rollout", "What reaches the head's token through all layers: attention rollout."),
    "flow": ("attention:flow", "The same as a maximum flow, which narrow places limit: attention flow."),
    "relevance": ("attention:relevance", "What of the image a class, a box or a place depends on, through attention."),
    "grad-cam": ("attention:grad_cam", "The same by the features of one layer: also of a ConvNet."),
    "attnlrp": ("attention:attnlrp", "The same as shares of the logit, by layer-wise relevance propagation."),
    "rise": ("attention:rise", "The same for any classifier, by random masks."),
    "positions": ("layers:positions", "Which positions are alike: cosine similarity of each with all."),
    "filters": (
        "layers:filters",
        "What the first layer sees: components of the patch embedding, filters of a ConvNet.",
    ),
    "activations": ("layers:activations", "The strongest channels of every layer for an image."),
    "token-pca": ("layers:token_pca", "Patches coloured by principal components of their tokens."),
    "cka": ("layers:cka", "How alike layers are, of one model or of two: linear CKA."),
    "norms": ("layers:norms", "Norms of tokens by layer, and outliers."),
    "lens": ("layers:lens", "What the head would predict after each layer: logit lens."),
    "cost": ("cost:cost", "Parameters, multiply-adds, activations and time by image size."),
    "shift": ("places:shift", "How much the output changes when the image is shifted."),
    "shuffle": ("places:shuffle", "Output and accuracy when tiles or patches change places."),
    "occlusion": ("places:occlusion", "Output and accuracy when random patches are hidden."),
    "field": ("places:field", "Effective receptive field of every layer, by the gradient."),
    "heads": ("parts:heads", "What a metric loses without each attention head and each block, with intervals."),
    "calibration": ("reliability:calibration", "Calibration error, and a temperature fitted on validation images."),
    "robustness": ("reliability:robustness", "Error under common corruptions in five severities."),
    "faithfulness": ("believe:faithfulness", "Which map can be believed: insertion, deletion, SaCo."),
    "sanity": ("believe:sanity", "Whether maps change when the weights are randomised."),
}

app = App(name="analyze", help="Look inside a model: one analysis by name, as a plot and as numbers.")
for _name, (_place, _does) in ANALYSES.items():
    app.command(f"saccade.cli.analyses.{_place}", name=_name, help=_does)
