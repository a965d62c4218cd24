"""One of several processes that learn together, or one alone on all of it: see test_two_ranks.py.

Usage: python two_ranks_worker.py FILE   (RANK, WORLD_SIZE, … as torchrun sets them)
"""

import sys
from contextlib import contextmanager

import torch

from aime_agent import distributed
from aime_agent.agents.actor_critic import ReturnScale
from aime_agent.agents.aime import AgentSpec, AimeAgent
from aime_agent.agents.learner import WorldModelLearner
from aime_agent.agents.presets import agent_preset
from aime_agent.structs import Batch
from aime_agent.world_model.losses import SequenceData
from aime_agent.world_model.model import AimeWorldModel
from aime_agent.world_model.presets import preset

WINDOWS, ROWS, SIDE = 4, 7, 32
STEPS = 2


def share_of(rows, place):
    """The rows of this process; their numbers keep the pattern of frames that losses skip."""
    size = len(rows) // place.ranks
    return rows[place.rank * size : (place.rank + 1) * size]


def windows(seed=0):
    """All processes' batch. Episodes begin at different rows, so that masks count differently."""
    g = torch.Generator().manual_seed(seed)
    first = torch.zeros(WINDOWS, ROWS, dtype=torch.bool)
    first[:, 0] = first[0, 2] = first[0, 4] = first[1, 3] = True
    ended = torch.zeros(WINDOWS, ROWS, dtype=torch.bool)
    ended[0, 1] = ended[3, 6] = True
    frames = torch.randint(0, 256, (WINDOWS, ROWS, 3, SIDE, SIDE), dtype=torch.uint8, generator=g)
    actions = 2 * torch.rand(WINDOWS, ROWS, 2, generator=g) - 1
    return Batch(frames, actions, torch.rand(WINDOWS, ROWS, generator=g) * ~first, ended, first)


@contextmanager
def drawing_together(place):
    """Makes torch draw the noise of all processes' rows, and keep this one's."""
    kept = torch.randn, torch.randn_like, torch.rand_like

    def joint(draw, shape, **how):
        return share_of(draw((place.ranks * shape[0], *shape[1:]), **how), place)

    def like(draw):
        return lambda x: joint(draw, x.shape, dtype=x.dtype)

    torch.randn = lambda shape, **how: joint(kept[0], shape, **how)
    torch.randn_like, torch.rand_like = like(kept[0]), like(torch.rand)
    try:
        yield
    finally:
        torch.randn, torch.randn_like, torch.rand_like = kept


def world(balancer):
    torch.manual_seed(0)
    model = AimeWorldModel(preset("tiny", image_size=SIDE, action_dim=2, balancer=balancer))
    model.begin(windows().observations.flatten(0, 1)[:16])
    # So that the first update takes its codes from all processes' vectors.
    model.perceiver.tokenizer.quantizer.initialised.fill_(False)
    return model.double()


def fitted(balancer, place):
    """Loss, weights and codebook after two updates in float64."""
    model = world(balancer)
    learner = WorldModelLearner(model, agent_preset("tiny"))
    whole, found = windows(), {}
    mine = Batch(*(share_of(x, place) for x in whole))
    data = SequenceData(
        mine.observations.double() / 255,
        mine.actions.double(),
        mine.is_first,
        mine.rewards.double(),
        mine.terminated,
    )
    for step in range(STEPS):
        torch.manual_seed(step)
        with distributed.together(), drawing_together(place):
            losses, _, _ = learner.update(data, step)
            found[f"loss.{step}"] = distributed.mean(losses.total.detach())
    weights = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    return {f"{balancer}.{k}": v for k, v in (found | weights).items()}


def agent_of_its_own(place):
    """Weights of an agent with its own seed, frames and noise, which all processes must share."""
    torch.manual_seed(0)
    spec = AgentSpec(
        task="cartpole-swingup",
        preset="tiny",
        seed=place.rank,
        image_size=SIDE,
        world_model=preset("tiny", action_dim=2, image_size=SIDE),
        agent=agent_preset("tiny", dream_starts=6, horizon=2, dream_skip=1, actor_units=16),
    )
    agent = AimeAgent(spec)
    own = windows(seed=1 + place.rank)
    agent.begin(own.observations.flatten(0, 1))
    before = {k: v.clone() for k, v in agent.state_dict().items()}
    for step in range(STEPS):
        agent.update(own, step)
    after = agent.state_dict()
    moved = sum(bool((before[k] != after[k]).any()) for k in before if "behaviour.actor." in k)
    floats = {k: v.contiguous() for k, v in after.items() if v.is_floating_point()}
    return {f"agent.{k}": v for k, v in floats.items()} | {"moved": torch.tensor(moved)}


def main(path):
    torch.set_num_threads(1)
    with distributed.start("cpu") as place:
        found = agent_of_its_own(place)
        with distributed.together():
            returns = share_of(torch.arange(101.0).repeat_interleave(4)[:400], place)
            found["scale"] = ReturnScale().update(returns)
        for balancer in ("sum", "rgb"):
            found |= fitted(balancer, place)
        torch.save(found, path)


if __name__ == "__main__":
    main(sys.argv[1])
