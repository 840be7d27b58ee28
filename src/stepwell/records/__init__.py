"""Collections: what a filter says, which records it fits, in which order they stand, and what a record is made of.

It knows no database and no run. The store turns the same trees into SQL; what is evaluated here is what that SQL must agree with.
"""
