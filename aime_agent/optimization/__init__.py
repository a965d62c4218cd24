"""PILLAR 5: losses by task, and the balance of their gradients."""
