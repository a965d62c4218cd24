"""Requests that are refused before anything heavy begins."""

from aime_agent.errors import ConfigError


def check_task(task: str) -> None:
    """Refuses a control suite task that does not exist; Gymnasium ids are left to Gymnasium.

    Raises:
        ConfigError: the message names the nearest tasks.
    """
    from aime_agent.envs.suite import split_task

    if "/" not in task and "-v" not in task and ":" not in task:
        split_task(task)


def check_device(device: str) -> None:
    """Refuses a device that is no device or is not there."""
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"--device takes cpu, cuda or cuda:N, found {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: torch {torch.__version__} finds no CUDA device")
