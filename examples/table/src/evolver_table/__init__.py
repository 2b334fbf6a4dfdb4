"""Search in a table of results with evolver, as tabular benchmarks of architecture search are used.

space.py       the space ``choices``: one of some labels at each place.
table.py       the table: a JSON file, which evolver treats as a data set, ``table:FILE.json``.
evaluator.py   the evaluator ``table``: looks a genome up.
objectives.py  the objective ``column:NAME``: a column of the table.
"""
