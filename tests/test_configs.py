"""Trees of frozen dataclasses: override, dictionaries and back, hash."""

import json
from dataclasses import dataclass, field

import pytest

from aime_agent.configs import config_hash, from_dict, override, to_dict
from aime_agent.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    num_slots: int = 4
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.num_slots < 1:
            raise ConfigError(f"Inner.num_slots must be at least 1, found {self.num_slots}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    rate: float = 0.1
    name: str | None = None
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None


def test_override_changes_only_what_is_named():
    assert override(Outer(), rate=0.2) == Outer(rate=0.2)


def test_override_of_a_nested_config_keeps_its_other_settings():
    outer = Outer(inner=Inner(sizes=(7,)))
    assert override(outer, inner={"num_slots": 9}).inner == Inner(num_slots=9, sizes=(7,))
    assert override(outer, inner=Inner()).inner == Inner()


def test_override_leaves_the_original_alone():
    outer = Outer()
    override(outer, inner={"num_slots": 9})
    assert outer == Outer()


def test_override_validates_again():
    with pytest.raises(ConfigError, match=r"Inner\.num_slots must be at least 1, found 0"):
        override(Outer(), inner={"num_slots": 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rat": 1}, "Outer has no setting 'rat'. Did you mean 'rate'?"),
        ({"inner": {"num_slotz": 1}}, "Inner has no setting 'num_slotz'. Did you mean 'num_slots'"),
    ],
)
def test_unknown_setting_is_named_with_the_nearest(changes, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        override(Outer(), **changes)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        from_dict(Outer, changes)


@pytest.mark.parametrize("other", [{"rate": 1}, Outer])
def test_override_refuses_what_is_no_config(other):
    with pytest.raises(TypeError, match="dataclass instance"):
        override(other, rate=1)


def test_from_dict_refuses_what_is_no_dataclass():
    with pytest.raises(TypeError, match="dataclass"):
        from_dict(dict, {})


@pytest.mark.parametrize(
    "config",
    [Outer(), Outer(rate=1.0, name="x", inner=Inner(sizes=()), maybe=Inner(num_slots=2))],
)
def test_json_and_back_is_the_identity(config):
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


def test_missing_keys_take_the_defaults():
    assert from_dict(Outer, {"inner": {"num_slots": 2}}) == Outer(inner=Inner(num_slots=2))


def test_hash_follows_every_setting():
    configs = [Outer(), Outer(rate=0.2), Outer(name="x"), Outer(inner=Inner(num_slots=5))]
    hashes = {config_hash(c) for c in configs}
    assert len(hashes) == len(configs)
    assert config_hash(Outer()) == config_hash(Outer())
    assert all(len(h) == 12 and int(h, 16) >= 0 for h in hashes)
