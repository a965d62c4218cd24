"""A tiny run of a real task, in which the examples of pages and scripts are run."""

import pytest

import aime_agent


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with ``runs/walker`` in it: thirty actions, one update."""
    home = tmp_path_factory.mktemp("place")
    aime_agent.train(
        "cartpole-balance", preset="tiny", out=home / "runs" / "walker", frames=1_500,
        action_repeat=50, image_size=32, render_quality="minimal", prefill_frames=1_250,
        sequence_length=5, batch_size=2, pretrain_updates=1, train_every=50, eval_episodes=0,
        tensorboard=False, agent={"dream_starts": 4, "horizon": 2},
    )  # fmt: skip
    return home
