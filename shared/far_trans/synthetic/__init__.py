"""An invented data set in the published schema, with its published counts and skew and with preferences to find."""

from shared.far_trans.synthetic.dataset import synthesize

__all__ = ["synthesize"]
