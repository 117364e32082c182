"""`python -m trueup.cli`."""

from trueup.cli.main import main

main()
