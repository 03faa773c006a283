"""Oddities: answers that mean something else than they should.

A fault spoils an answer so that nobody can take it for a good one. An oddity leaves a
well-formed answer and changes its meaning: a list is empty for once, a total is off by
one, a field has another name. Each module has the oddities of one kind; `names` lists
them all.
"""
