"""Pictures to learn from: `load` returns an `ImageSet`, packed once and memory-mapped.

==============  ===============================================================
room            idea
==============  ===============================================================
`loading`       `load`, `make_toys`: from a name to an open pack
`checking`      `check`: is a data set whole? without packing it
`imageset`      `ImageSet`: images, attributes, landmarks, splits
`batches`       batches as a function of (seed, step)
`packs`         folders of ``.npy`` files: written whole, locked, verified
`celeba`        the three layouts of CelebA
`folders`       any folder or archive of pictures
`photos`        one photo, and the way back into it
`sources`       a data set before it is packed
`pictures`      encoded pictures in folders, archives and parquet files
`archives`      zip archives that are not trusted
`tables`        annotation files
`frames`        crops and alignment
`decode`        pictures that are not trusted, many at a time
`splits`        who belongs to train, val and test
==============  ===============================================================

Examples
--------
>>> from nblib import datasets
>>> faces = datasets.load("toyfaces", n=300, progress=False)  # doctest: +SKIP
>>> faces.split("train").attribute("Smiling").float().mean()  # doctest: +SKIP
"""

from nblib.datasets.checking import Report, check
from nblib.datasets.imageset import ImageSet
from nblib.datasets.loading import KNOWN, TOYS, load, make_toys

__all__ = ["KNOWN", "TOYS", "ImageSet", "Report", "check", "load", "make_toys"]
