"""Differentially private training: per-example clipping, Poisson sampling, Gaussian noise."""
