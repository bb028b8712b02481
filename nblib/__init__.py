"""How neural networks fill in the missing parts of pictures: the library behind the notebooks."""

__version__ = "0.1.0"
