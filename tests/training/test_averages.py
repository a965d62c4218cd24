import json

import torch

from aime_agent.training.averages import Averages


def test_saving_in_the_middle_changes_no_bit():
    values = torch.rand(20).tolist()
    whole, part = Averages(), Averages()
    for v in values[:7]:
        part.add({"x": torch.tensor(v), "y": v})
    part = Averages(json.loads(json.dumps(part.state())))
    for v in values[7:]:
        part.add({"x": torch.tensor(v), "y": v})
    for v in values:
        whole.add({"x": torch.tensor(v), "y": v})
    assert whole.take() == part.take()


def test_names_may_come_and_go():
    averages = Averages()
    averages.add({"a": 1.0})
    averages.add({"a": 3.0, "b": 5.0})
    assert averages.take() == {"a": 2.0, "b": 5.0}
    assert averages.take() == {}
