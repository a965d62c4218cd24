"""Shows where the time of one gradient update goes, on made-up data.

Usage: python scripts/profile_step.py --preset small --sort self_cpu_time_total
"""

import time
from dataclasses import dataclass

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from aime_agent import AimeAgent
from aime_agent.structs import Batch
from aime_agent.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to profile and how to show it."""

    preset: str = "small"
    """Size of the model: tiny, small, base or seed84."""
    action_dim: int = 6
    """Size of the action."""
    updates: int = 3
    """Updates to profile, after two to warm up."""
    rows: int = 25
    """Lines of the table."""
    sort: str = "cpu_time_total"
    """Column to sort by; self_cpu_time_total shows single operations."""
    device: str = "cpu"
    """Where to compute: cpu or cuda."""


def random_batch(config: TrainConfig, action_dim: int) -> Batch:
    """Returns noise in the shapes of a replay sample."""
    b, t, size = config.batch_size, config.sequence_length, config.image_size
    flags = torch.zeros(b, t, dtype=torch.bool)
    return Batch(
        observations=torch.randint(0, 256, (b, t, 3, size, size), dtype=torch.uint8),
        actions=torch.rand(b, t, action_dim) * 2 - 1,
        rewards=torch.rand(b, t),
        terminated=flags,
        is_first=flags,
    )


def main(args: Args) -> None:
    config = TrainConfig(task="walker-walk", preset=args.preset, device=args.device)
    agent = AimeAgent.create(config, args.action_dim)
    batch = random_batch(config, args.action_dim)
    agent.begin(batch.observations.flatten(0, 1))
    for step in range(2):
        agent.update(batch, step)

    kinds = [ProfilerActivity.CPU]
    if args.device.startswith("cuda"):
        kinds.append(ProfilerActivity.CUDA)
    start = time.perf_counter()
    with profile(activities=kinds) as profiler:
        for step in range(2, 2 + args.updates):
            agent.update(batch, step)
    took = (time.perf_counter() - start) / args.updates

    table = profiler.key_averages()
    print(table.table(sort_by=args.sort, row_limit=args.rows))
    operations = sum(event.count for event in table) / args.updates
    print(f"{1000 * took:.0f} ms and {operations:.0f} operations per update (profiler on)")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
