"""Genotype files -> dosages, their quality, and polygenic scores."""
