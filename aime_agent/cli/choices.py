"""Words that options choose from."""

PRESETS = ("tiny", "small", "base", "seed84")
QUALITIES = ("standard", "fast", "minimal")
PLAYERS = ("random", "agent")
POLICIES = ("agent", "random", "zero", "untrained")
