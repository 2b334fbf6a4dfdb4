"""The database: schema, connections, and the only SQL of the project.

schema.py       tables, constraints and indexes, the same on SQLite and PostgreSQL.
states.py       the states of experiments and evaluations, and the transitions between them.
db.py           connections and transactions; ``migrate.py`` brings a database to this version's schema.
claims.py       a worker registers, sees what there is to do, and leases an evaluation.
leases.py       what the holder of a lease may write, and how it ends; queue.py: what needs no lease.
single.py       claim and success as one statement each, on PostgreSQL.
experiments.py  experiments, data sets and recipes: create, change state, delete.
leadership.py   who leads an experiment: the guard of every step.
seeds.py        the genomes that a search begins with.
steps.py        what a step of the scheduler reads and writes; history.py: all that it ever did, for replay.
curves.py       the results of a search as numbers, for comparisons.
facts.py        what people read of a search: status, fronts, genomes.
details.py      one genome in full: evaluations, attempts, curves, ancestors.
trainings.py    trainings in full: final ones, and those on other data.
weights.py      the weights that final trainings kept.
browse.py       what a person browses, bounded however long a history is; kin.py: who descends from whom.
fleet.py        the workers: who is alive, and asking them to leave.
activity.py     what each worker does now; names.py: the names that a shell completes.
observations.py what notifications are made of.
operations.py   the health of a database, and what lies about in it.
reading.py      a database for reading alone, by who must not slow a search down.
console.py      SQL that a person wrote, which can only read.
tables.py       an experiment as tidy tables, in batches.
roles.py        who may do what on PostgreSQL; ``copy.py`` brings everything into another database.

Callers own the transaction (``Database.write``, ``Database.read``); no function here commits.
Functions return frozen values, never rows that are tied to a connection.
"""
