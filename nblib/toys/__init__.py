"""Procedural pictures: drawn from an integer hash, so that sample i of seed s is the same everywhere."""
