"""Search over real vectors with evolver: a space, and the standard problems to try it on.

space.py       the space ``vectors``: a box with simulated binary crossover and polynomial mutation.
operators.py   the two operators, on arrays.
problems.py    ZDT1 to 4 and 6, DTLZ2 and 7.
evaluator.py   an evaluator for each problem, of the problem's name.
objectives.py  ``f1``, ``f2`` and ``f3``.
"""
