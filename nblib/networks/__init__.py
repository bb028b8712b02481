"""Networks: modules that map tensors and do nothing else; losses, optimisers and files live elsewhere.

=================  ======================================================================================
room               idea
=================  ======================================================================================
`dcgan`            generator and discriminator of convolutions alone
`sagan`            the same with self-attention, spectral norm and labels
`approxnet`        fillers of holes: a rough one, a refiner with self-attention, and a discriminator
`encoder`          guess a generator's latent vector: where a latent search starts
`context_encoder`  a filler of holes like those it was trained on, by a single pass
`cvae`             faces from a code and a label: a conditional variational autoencoder
`classifier`       attributes of a picture, and the features they are read from
`judge`            both eyes or both wheels: where they are, and what each looks like from its part alone
`mlp`              dense players for densities in the plane
=================  ======================================================================================

Each network keeps its constructor's arguments as attributes of the same names: from them a checkpoint can build it
again.
"""
