"""Families by name: what is trained on is not what is tested on."""

import pytest
from gymnasium import spaces

from aime_agent.cli.meta import META_PRESETS
from aime_agent.errors import ConfigError
from aime_agent.meta.named import family_by_name
from aime_agent.meta.presets import PRESETS, meta_preset


@pytest.mark.parametrize("name", ["navigation2d", "laws", "walker-body"])
def test_train_and_test_tasks_differ_and_look_alike(name):
    train, test = (family_by_name(name, split) for split in ("train", "test"))
    names = [{task.name for task in family.sample_task_batch(20)} for family in (train, test)]
    assert not names[0] & names[1]
    shown = [spaces.flatdim(f.make_env().observation_space) for f in (train, test)]
    assert shown[0] == shown[1]
    assert train.name == name


def test_settings_of_laws_and_of_control():
    laws, control = (meta_preset("cpu", family) for family in ("laws", "cheetah-vel"))
    assert (laws.baseline, control.baseline) == ("leave_one_out", "linear")
    assert set(PRESETS) == set(META_PRESETS) == {"seed", "smoke", "cpu", "gpu"}
    assert meta_preset("seed", "cheetah-vel").adaptation_steps == 5


def test_no_other_split():
    with pytest.raises(ConfigError, match="train or test"):
        family_by_name("laws", "val")
