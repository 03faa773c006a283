"""Oddities: well-formed answers with a wrong meaning.

A fault makes an answer visibly bad. An oddity keeps the answer well-formed and changes
its meaning: a list is empty once, a total is one too high, a field has another name.
Each module has the oddities of one kind; `names` lists them all.
"""
