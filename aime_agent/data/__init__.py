"""Episodes, replay and storage."""
