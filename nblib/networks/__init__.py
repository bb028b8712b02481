"""Networks: modules that map tensors and do nothing else; losses, optimisers and files live elsewhere.

===============  ======================================================================================
room             idea
===============  ======================================================================================
`dcgan`          generator and discriminator of convolutions alone
`sagan`          the same with self-attention, spectral norm and labels
`approxnet`      fillers of holes: a rough one, a refiner with self-attention, and a discriminator
`classifier`     attributes of a picture, and the features they are read from
`mlp`            dense players for densities in the plane
===============  ======================================================================================

Each network keeps its constructor's arguments as attributes of the same names: from them a checkpoint can build it
again.
"""
