"""The benchmarks of Stretto: `make bench`. See README.md here."""
