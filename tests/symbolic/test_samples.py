"""Rows from files and arrays; each bad one is refused with its place."""

import numpy as np
import pytest

from aime_agent.errors import DataError
from aime_agent.symbolic.samples import Samples, check_samples, read_csv

GOOD = Samples(np.array([[1.0, 2.0, 3.0]]), np.array([2.0, 4.0, 6.0]))


def test_a_table_is_read(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("x, v ,E\n1,2,3\n4,5,6.5\n")
    names, samples = read_csv(file)
    assert names == ["x", "v", "E"]
    np.testing.assert_array_equal(samples.inputs, [[1, 4], [2, 5]])
    np.testing.assert_array_equal(samples.target, [3, 6.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header"),
        ("y\n1\n2\n", "header with a variable and a target"),
        ("x,y\n1,2\n", "at least 2 rows of data, found 1"),
        ("x,y\n1,2\n3\n", "line 3: 2 columns needed, found 1"),
        ("x,y\n1,2\n3,four\n", "line 3.*four"),
        ("x,y\n1,2\nnan,3\n", "column 'x' must be finite, found nan in row 1"),
        ("x,y\n1,2\n2,inf\n", "column 'y' must be finite, found inf in row 1"),
        ("x,y\n1,2\n2,2\n", "column 'y' must vary"),
        (",".join(f"c{i}" for i in range(12)) + "\n" + 2 * (11 * "1," + "2\n"), "found 11"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, message):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_csv(file)


def test_no_variable_is_refused():
    with pytest.raises(DataError, match=r"1 to 10 variables.*found 0"):
        check_samples(Samples(np.zeros((0, 3)), GOOD.target), [], "y")
    assert check_samples(GOOD, ["x"], "y") is GOOD
