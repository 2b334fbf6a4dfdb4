"""What evaluators may not give: the genome fails, with one line as the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evolver.errors import EvaluationFailed, InvalidInput
from tests.acceptance import wrong_plugins
from tests.workers import searches
from tests.workers.recorder import Recorder
from workers import child, protocol

TASK = replace(searches.TASK, evaluator="wrong", code={})


@pytest.mark.parametrize(
    ("evaluator", "words"),
    [
        (wrong_plugins.NotANumber, "objective 'error' is nan, not a finite number"),
        (wrong_plugins.OneShort, "objective 'loss' needs validation_loss, which was not measured"),
        (wrong_plugins.Worded, "validation_error was measured as 'low', which is no number"),
        (
            wrong_plugins.Bare,
            r"the evaluator 'wrong' gave no evolver\.evaluation\.Outcome but \(0\.5, 0\.5\)",
        ),
    ],
)
def test_a_wrong_result_fails_the_genome(evaluator: Any, words: str) -> None:
    with pytest.raises(EvaluationFailed, match=f"^{words}$") as caught:
        child.values_to_record(TASK, child.measured_by(evaluator(), TASK, Recorder()))
    assert child.classify(caught.value) == protocol.Failed(kind="error", message=str(caught.value))


def test_what_this_machine_does_not_take_is_left_to_others() -> None:
    error = InvalidInput("the space 'vectors' here takes no setting 'm'")
    assert child.classify(error) == protocol.Faulted(message=str(error))
