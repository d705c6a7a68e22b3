"""The legs of `make bench`: each measures one part of the system beside its limit, by turns, in one run."""
