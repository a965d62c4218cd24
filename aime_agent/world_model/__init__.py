"""The five pillars joined."""
