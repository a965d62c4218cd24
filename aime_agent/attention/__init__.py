"""PILLAR 4: where the model looks, and where it expects to look."""
