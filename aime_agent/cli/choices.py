"""Words that options choose from."""

PRESETS = ("tiny", "small", "base", "seed84")
QUALITIES = ("standard", "fast", "minimal")
PLAYERS = ("random", "agent")
POLICIES = ("agent", "random", "zero", "untrained")
ALGORITHMS = ("aime", "sb3-ppo", "sb3-sac")
FEATURES = ("belief", "slots", "objects", "pixels")
