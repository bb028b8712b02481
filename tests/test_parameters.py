import pytest

from nblib.parameters import bind


@pytest.mark.parametrize(
    ("default", "given", "bound"),
    [
        (1, "20", 20),
        (0.5, "1e-4", 1e-4),
        (0.5, 2, 2.0),
        ("a", "007", "007"),
        ("a", "true", "true"),
        (False, "true", True),
        (False, "no", False),
        (None, "x", "x"),
        ([1], "[1, 2]", [1, 2]),
    ],
)
def test_values_take_the_type_of_the_default(default, given, bound):
    found = bind("nb", {"p": default}, {"p": given})["p"]
    assert found == bound
    assert type(found) is type(bound)


@pytest.mark.parametrize(
    ("default", "given"), [(1, "many"), (1, "1.5"), (1, 1.5), (1, True), (0.5, "x"), (False, "2"), ("a", 7), ([1], "3")]
)
def test_values_of_another_type_are_refused(default, given):
    if default == "a":
        assert bind("nb", {"p": default}, {"p": str(given)}) == {"p": "7"}
    with pytest.raises(ValueError, match=r"nb: p=.* is not of type"):
        bind("nb", {"p": default}, {"p": given})


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="nb has no parameter 'stepps'; did you mean 'steps'"):
        bind("nb", {"steps": 1, "rate": 0.5}, {"stepps": 2})
    with pytest.raises(ValueError, match="It has: steps, rate"):
        bind("nb", {"steps": 1, "rate": 0.5}, {"zzz": 2})
