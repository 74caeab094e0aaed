"""What makes generated files anew: `make docs`, `make proto`."""
