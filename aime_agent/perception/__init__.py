"""PILLAR 1: video tokens, and one causal context vector per frame."""
