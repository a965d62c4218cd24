"""PILLAR 2: the posterior over z, and its Dirichlet-process mixture prior."""
