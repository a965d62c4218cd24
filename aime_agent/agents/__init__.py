"""Actor-critic in imagination."""
