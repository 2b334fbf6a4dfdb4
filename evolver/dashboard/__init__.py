"""Pages that show searches while they run: ``evolver dashboard``. They read and never write.

app.py       which address shows what, and how a view becomes an answer.
security.py  the token, host names, and the headers of every answer.
views.py     what a view is asked, and what it answers.
overview.py, fronts.py, genomes.py, lineage.py, comparing.py   the views.
figures.py   charts as data for Plotly.
progress.py  the growth of the hypervolume, from who entered the front.
networks.py  a genome in a line, as lines to compare, and as a drawing.
tree.py      where the genomes of a lineage are drawn.
words.py     numbers and times as people read them.

A view is a function of a read-only transaction and of what it was asked. It reads a bounded number of rows,
whatever the length of a history; the SQL is in ``evolver.store``.
"""
