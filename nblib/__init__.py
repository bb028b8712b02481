"""How neural networks fill in the missing parts of pictures: the library behind the notebooks."""

import os

__version__ = "0.1.0"

# Torch's threads (GNU OpenMP, that is on Linux) spin while they wait for each other, for milliseconds; where another
# process wants the core, both then take many times as long (data/benchmarks/crowded.json). A thousand turns and then
# sleep cost a process that is alone little. Torch reads this as it is loaded; the kernels that nblib starts inherit it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
