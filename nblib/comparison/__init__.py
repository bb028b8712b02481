"""Compare two runs, notebooks or evaluations: settings, metrics, times and pictures, and whether B may pass for A."""

from nblib.comparison.comparing import Comparison, compare
from nblib.comparison.measures import Difference, Tolerances
from nblib.comparison.report import save, text
from nblib.comparison.sides import read_side

__all__ = ["Comparison", "Difference", "Tolerances", "compare", "read_side", "save", "text"]
