"""`saccade analyze`: every analysis by name; its file in `saccade/cli/analyses` is loaded when it runs."""

from cyclopts import App

ANALYSES = {  # name -> where it is, what it measures
    "distance": ("attention:distance", "Attention distance of each head in pixels: mean and spread over a data set."),
    "attention": (
        "attention:attention",
        "Attention of one query (class token, point or query), by layer and head.",
    ),
    "rollout": ("attention:rollout", "Attention rollout: attention to the head's token through all layers."),
    "flow": ("attention:flow", "Attention flow: the same as a maximum flow, limited by bottlenecks."),
    "relevance": ("attention:relevance", "Relevance: what a class, a box or a point depends on, through attention."),
    "grad-cam": ("attention:grad_cam", "Grad-CAM: the same from the features of one layer, also for ConvNets."),
    "attnlrp": ("attention:attnlrp", "AttnLRP: the same as shares of the logit, by layer-wise relevance propagation."),
    "rise": ("attention:rise", "RISE: the same for any classifier, by random masks."),
    "positions": ("layers:positions", "Cosine similarity of each position embedding with all others."),
    "filters": (
        "layers:filters",
        "Filters of the first layer: components of the patch embedding, filters of a ConvNet.",
    ),
    "activations": ("layers:activations", "The strongest channels of every layer for an image."),
    "token-pca": ("layers:token_pca", "Patches coloured by principal components of their tokens."),
    "cka": ("layers:cka", "Similarity of layers, within one model or between two: linear CKA."),
    "norms": ("layers:norms", "Norms of tokens by layer, and outliers."),
    "lens": ("layers:lens", "Logit lens: the head's prediction after each layer."),
    "cost": ("cost:cost", "Parameters, multiply-adds, activations and time by image size."),
    "shift": ("places:shift", "How much the output changes when the image is shifted."),
    "shuffle": ("places:shuffle", "Output and accuracy when tiles or patches are shuffled."),
    "occlusion": ("places:occlusion", "Output and accuracy when random patches are hidden."),
    "field": ("places:field", "Effective receptive field of every layer, by the gradient."),
    "heads": ("parts:heads", "Loss of a metric without each attention head and each block, with intervals."),
    "calibration": ("reliability:calibration", "Calibration error, and a temperature fitted on validation images."),
    "robustness": ("reliability:robustness", "Error under common corruptions at five severities."),
    "faithfulness": ("believe:faithfulness", "Faithfulness of maps: insertion, deletion, SaCo."),
    "sanity": ("believe:sanity", "Sanity check: change of maps when the weights are randomised."),
}

app = App(name="analyze", help="Analyse a model: one analysis by name, as a plot and as numbers.")
for _name, (_place, _does) in ANALYSES.items():
    app.command(f"saccade.cli.analyses.{_place}", name=_name, help=_does)
