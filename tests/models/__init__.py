"""How the small speech models of the tests are made: see README.md beside this file. No test imports this package."""
