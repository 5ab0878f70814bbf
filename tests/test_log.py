"""What the processes write to standard error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from groundplane.config import LogConfig
from groundplane.log import set_up_logging


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_told_without_the_values_around_it(
    form: Literal["json", "text"], capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(LogConfig(format=form))

    def sign_in(password: str) -> None:
        raise RuntimeError("it went wrong")

    try:
        sign_in("open".ljust(8, "!"))  # not as it stands here, which a traceback shows
    except RuntimeError:
        logging.getLogger("test").exception("A request failed")
    said = capsys.readouterr().err
    assert "it went wrong" in said
    assert "sign_in" in said
    assert "open!!!!" not in said
