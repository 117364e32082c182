"""Laws every objective obeys; `check_objective` tries them on yours."""

from trueup.laws.objective import LAWS, LawBrokenError, check_objective

__all__ = ["LAWS", "LawBrokenError", "check_objective"]
