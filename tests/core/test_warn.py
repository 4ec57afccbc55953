"""Warnings name the line of a person's."""

import warnings

import pytest

import netwright as nw
from netwright.core.warn import warn


def test_the_line_that_called_is_named():
    with pytest.warns(UserWarning, match="so it is") as caught:
        warn("so it is")
    assert caught[0].filename == __file__


def test_of_a_public_function_too():
    space = nw.Space([nw.Choice("a", (1, 2, 3))])

    def evaluate(candidate):
        if candidate["a"] == 2:
            raise ValueError("not this one")
        return {"cost": float(candidate["a"])}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nw.search(space, evaluate, objectives={"cost": "min"}, evaluations=3, strategy="random", seed=0)
    assert [w.filename for w in caught if "failed" in str(w.message)] == [__file__]
