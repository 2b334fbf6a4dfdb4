"""The objectives of the standard problems, as evolver knows them."""

from __future__ import annotations

from operator import itemgetter

from evolver.objectives import Objective

F1 = Objective("f1", "the problem's first function", ("f1",), itemgetter("f1"))
F2 = Objective("f2", "the problem's second function", ("f2",), itemgetter("f2"))
F3 = Objective("f3", "the problem's third function", ("f3",), itemgetter("f3"))
