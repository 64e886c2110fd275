import numpy as np

from train.csv_tables import read_csv


def test_numbers_are_read_back_as_they_were_written() -> None:
    rng = np.random.default_rng(0)
    written = rng.normal(size=3000) * 10.0 ** rng.integers(-300, 300, size=3000)
    written = np.concatenate([written, rng.normal(size=3000), [5e-324, np.finfo(np.float64).max, 0.1 + 0.2]])
    text = "value\n" + "".join(f"{value!r}\n" for value in written.tolist())
    np.testing.assert_array_equal(read_csv(text)["value"].to_numpy(), written)


def test_columns_can_be_left_out() -> None:
    assert list(read_csv("a,b,c\n1,2,x\n", lambda name: name != "c")) == ["a", "b"]
