"""Widgets: what a reader of a notebook can press, and the one place that needs ipywidgets and anywidget.

Each widget has a twin without buttons, a function that returns a figure of the same content: readers of a page on the
web and runs without a browser see that.
"""

from nblib.widgets.explorer import AttentionExplorer
from nblib.widgets.mixer import AttributeMixer
from nblib.widgets.mixing import Mixed, Still, mix, mixed_figure
from nblib.widgets.monitor import TrainingMonitor, monitor_figure
from nblib.widgets.painter import MaskPainter
from nblib.widgets.player import SearchPlayer
from nblib.widgets.search_views import search_figure
from nblib.widgets.stage import Stage
from nblib.widgets.tiles import Filling, fill, filled_figure
from nblib.widgets.views import attention_figure, look, overlay

__all__ = [
    "AttentionExplorer",
    "AttributeMixer",
    "Filling",
    "MaskPainter",
    "Mixed",
    "SearchPlayer",
    "Stage",
    "Still",
    "TrainingMonitor",
    "attention_figure",
    "fill",
    "filled_figure",
    "look",
    "mix",
    "mixed_figure",
    "monitor_figure",
    "overlay",
    "search_figure",
]
