"""Gymnasium environments. Import as ``aime_agent.envs``."""

if not __name__.startswith("aime_agent."):
    raise ImportError("import aime_agent.envs, not envs (a second copy would register ids twice)")
