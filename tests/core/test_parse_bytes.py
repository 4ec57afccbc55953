from __future__ import annotations

import pytest

from netwright.core.units import parse_bytes


def test_sizes_have_units() -> None:
    assert [parse_bytes(t) for t in ("2 GB", "1.5kB", " .5 MiB ", "3 B")] == [2e9, 1500.0, 2.0**19, 3.0]


@pytest.mark.parametrize("text", ["", "2", "GB", "-1 GB", "2 XB", "0 GB", "2 GB x", "1e3 B", "nan B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as '2 GB', in one of B, kB"):
        parse_bytes(text)
