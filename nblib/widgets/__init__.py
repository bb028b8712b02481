"""Widgets: what a reader of a notebook can press, and the one place that needs ipywidgets and anywidget.

Each widget has a twin without buttons, a function that returns a figure of the same content: readers of a page on the
web and runs without a browser see that.
"""

from nblib.widgets.explorer import AttentionExplorer
from nblib.widgets.monitor import TrainingMonitor, monitor_figure
from nblib.widgets.views import attention_figure, look, overlay

__all__ = ["AttentionExplorer", "TrainingMonitor", "attention_figure", "look", "monitor_figure", "overlay"]
