"""PILLAR 3: the recurrence, reward and continuation."""
