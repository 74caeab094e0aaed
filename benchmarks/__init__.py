"""How fast, how cheap: `make bench`. See README.md here."""
