"""Widgets: what a reader of a notebook can press, and the one place that needs ipywidgets and anywidget.

Each widget has a twin without buttons, a function that returns a figure of the same content: readers of a page on the
web and runs without a browser see that.
"""

from nblib.widgets.monitor import TrainingMonitor, monitor_figure

__all__ = ["TrainingMonitor", "monitor_figure"]
