"""The report site: a folder of pages about a run that opens from disk, asks the network for nothing and trusts no run.

`build` reads a run (`nblib.site.gather`), turns notebooks into safe HTML (`nblib.site.html`, `nblib.site.chapters`),
describes the library (`nblib.site.api`) and writes the pages (`nblib.site.build`).
"""

from nblib.site.build import build

__all__ = ["build"]
