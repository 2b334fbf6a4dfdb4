"""Data sets as the control plane knows them: names, shapes and counts, never their contents.

``spec.py`` holds the description of a data set and how a user's ``--dataset`` argument is read;
``builtin.py`` the built-in ones; ``files.py`` the peeks into data sets that are the user's own files.
The training process loads the data (``workers.data``).
"""

from evolver.datasets.spec import DatasetInfo, DatasetSpec, describe, parse_argument

__all__ = ["DatasetInfo", "DatasetSpec", "describe", "parse_argument"]
