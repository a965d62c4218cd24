"""Stable-Baselines3 extractors and policies. Import as ``aime_agent.policies``."""

if not __name__.startswith("aime_agent."):
    raise ImportError("import aime_agent.policies, not policies (a second copy would differ)")
