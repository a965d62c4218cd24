"""PPO, SAC, TD3 and RecurrentPPO learn from beliefs and slots, and come back from both kinds of file."""

import json
import zipfile

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO, SAC, TD3

from aime_agent.errors import CheckpointError, ConfigError
from aime_agent.policies.extractors import BeliefExtractor, SlotExtractor
from aime_agent.policies.perception import perception_kwargs
from aime_agent.policies.saving import POLICY, WEIGHTS, load_policy, save_policy
from aime_agent.policies.slots import SlotActorCriticPolicy, SlotSACPolicy, SlotTD3Policy
from aime_agent.training import players
from aime_agent.world_model.frozen import WorldRef, freeze

ON = {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
OFF = {"learning_starts": 4, "buffer_size": 60, "batch_size": 8}
BELIEF = {"features_extractor_class": BeliefExtractor, "net_arch": [16]}
SLOTS = {"features_extractor_class": SlotExtractor, "net_arch": [16]}
CASES = {
    "ppo belief": (PPO, "MlpPolicy", "belief", BELIEF, ON),
    "ppo slots": (PPO, SlotActorCriticPolicy, "objects", {"net_arch": [16]}, ON),
    "ppo plain dict": (PPO, "MultiInputPolicy", "slots", {}, ON),
    "sac belief": (SAC, "MlpPolicy", "belief", BELIEF, OFF),
    "sac slots": (SAC, SlotSACPolicy, "objects", {"net_arch": [16], "proposals": 4}, OFF),
    "td3 slots": (TD3, "MultiInputPolicy", "objects", SLOTS, OFF),
    "td3 per slot": (TD3, SlotTD3Policy, "objects", {"net_arch": [16]}, OFF),
    "recurrent": (RecurrentPPO, "MultiInputLstmPolicy", "objects", {**SLOTS, "lstm_hidden_size": 8}, ON),
}  # fmt: skip


def trained(case, make_beliefs):
    algorithm, policy, kind, kwargs, settings = CASES[case]
    env = make_beliefs(kind)
    model = algorithm(policy, env, policy_kwargs=dict(kwargs), **settings)
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.learn(32)
    after = model.policy.state_dict()
    assert any((before[k] != after[k]).any() for k in before)
    return model, env


@pytest.mark.parametrize("case", list(CASES))
def test_learns_and_comes_back_from_both_kinds_of_file(case, make_beliefs, tmp_path):
    model, env = trained(case, make_beliefs)
    observations = env.reset()
    expected, _ = model.predict(observations, deterministic=True)
    model.save(tmp_path / "sb3.zip")
    theirs = type(model).load(tmp_path / "sb3.zip")
    ours = load_policy(save_policy(model, tmp_path / "ours"), world=env.tracker.world)
    for loaded in (theirs, ours):
        np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)


FRAMES = {
    "ppo": (PPO, SlotActorCriticPolicy, lambda w, tune: {"world": w, "finetune": tune}, ON),
    "sac": (SAC, "CnnPolicy", lambda w, tune: perception_kwargs(w, tune), OFF),
}


@pytest.mark.parametrize("finetune", [False, True], ids=["frozen", "tuned"])
@pytest.mark.parametrize("name", list(FRAMES))
def test_stacked_frames_too_frozen_or_tuned(name, finetune, make_stack, world, tmp_path):
    algorithm, policy, kwargs, settings = FRAMES[name]
    env, ref = make_stack(), freeze(world)
    model = algorithm(
        policy, env, policy_kwargs={**kwargs(ref, finetune), "net_arch": [16]}, **settings
    )
    extractor = (model.policy if name == "ppo" else model.actor).features_extractor
    weight = lambda: next(extractor.perception.model.trunk.parameters()).detach().clone()  # noqa: E731
    before = weight() if finetune else None
    assert (not finetune) or (before == next(world.trunk.parameters())).all()  # no ortho_init
    model.learn(16)
    assert (not finetune) or (weight() != before).any()
    frames = env.reset()
    expected, _ = model.predict(frames, deterministic=True)
    model.save(tmp_path / "sb3.zip")
    ours = load_policy(save_policy(model, tmp_path / "ours"))
    theirs = algorithm.load(tmp_path / "sb3.zip")
    for loaded in (ours, theirs):
        np.testing.assert_array_equal(loaded.predict(frames, deterministic=True)[0], expected)


def test_saving_does_not_store_the_frozen_world(make_stack, world, tmp_path):
    kwargs = {"world": freeze(world), "net_arch": [16]}
    model = PPO(SlotActorCriticPolicy, make_stack(), policy_kwargs=kwargs, **ON)
    model.save(tmp_path / "sb3.zip")
    state = model.policy.state_dict()
    assert not [key for key in state if "trunk" in key or "perceiver" in key]
    own, slack = 4 * sum(v.numel() for v in state.values()), 100_000
    assert slack < 4 * sum(p.numel() for p in world.parameters())
    assert (save_policy(model, tmp_path / "ours") / WEIGHTS).stat().st_size < own + slack
    with zipfile.ZipFile(tmp_path / "sb3.zip") as file:
        assert file.getinfo("policy.pth").file_size < own + slack
        assert file.getinfo("data").file_size < slack


def test_a_policy_of_another_world_is_refused(make_beliefs, tmp_path):
    model, env = trained("ppo belief", make_beliefs)
    folder = save_policy(model, tmp_path)
    assert json.loads((folder / POLICY).read_text())["world"][0] == env.world_hash
    with pytest.raises(CheckpointError, match=f"{env.world_hash}, found 0123"):
        load_policy(folder, world=WorldRef("0123"))


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).write_text, (self.path, "ran")


def test_a_crafted_zip_does_not_run(make_beliefs, tmp_path):
    model, _ = trained("ppo belief", make_beliefs)
    mark, crafted = tmp_path / "mark", tmp_path / "crafted.zip"
    model.policy_kwargs = {"payload": Payload(mark)}
    model.save(crafted)
    for load in (load_policy, players.load_policy):
        with pytest.raises((CheckpointError, ConfigError), match="cloudpickle"):
            load(crafted)
        assert not mark.exists()
    with pytest.raises(ConfigError, match="payload"):
        players.load_policy(crafted, trust_pickle=True)
    assert mark.read_text() == "ran"  # so the payload works, and the refusals were worth something


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "aime_agent.policies.slots:Any"])
def test_a_crafted_folder_names_no_class_of_its_choice(make_beliefs, tmp_path, name):
    model, _ = trained("ppo belief", make_beliefs)
    folder = save_policy(model, tmp_path)
    text = json.loads((folder / POLICY).read_text())
    text["policy"] = {"class": name}
    (folder / POLICY).write_text(json.dumps(text))
    with pytest.raises(CheckpointError, match="not on the list"):
        load_policy(folder)


def test_damaged_and_missing_files_are_refused(make_beliefs, tmp_path):
    with pytest.raises(CheckpointError, match="no readable policy"):
        load_policy(tmp_path / "nothing")
    model, _ = trained("ppo belief", make_beliefs)
    folder = save_policy(model, tmp_path)
    (folder / WEIGHTS).write_bytes(b"12345678")
    with pytest.raises(CheckpointError, match="no usable policy"):
        load_policy(folder)


def test_foreign_classes_are_not_saved(make_beliefs, tmp_path):
    class Mine(BeliefExtractor):
        pass

    env = make_beliefs()
    model = PPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": Mine}, **ON)
    with pytest.raises(ConfigError, match="not on the list"):
        save_policy(model, tmp_path)


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_progress_bar_and_tensorboard_work(make_beliefs, tmp_path):
    model = PPO("MlpPolicy", make_beliefs(), tensorboard_log=str(tmp_path), **ON)
    model.learn(16, progress_bar=True)
    assert list(tmp_path.rglob("events.out.tfevents*"))
