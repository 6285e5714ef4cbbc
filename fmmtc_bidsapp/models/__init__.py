"""Tensors to tensors: the networks."""
