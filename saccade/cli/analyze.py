"""`saccade analyze`: every analysis by name; its file in `saccade/cli/analyses` is loaded when it runs."""

from cyclopts import App

ANALYSES = {  # name -> where it is, what it measures
    "distance": ("attention:distance", "How far each head looks, in pixels: mean and spread over a data set."),
}

app = App(name="analyze", help="Look inside a model: one analysis by name, as a plot and as numbers.")
for _name, (_place, _does) in ANALYSES.items():
    app.command(f"saccade.cli.analyses.{_place}", name=_name, help=_does)
