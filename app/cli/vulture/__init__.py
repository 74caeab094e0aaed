"""`stretto vulture`: writes known traces, reads them back for ever, and counts what is missing or wrong."""

from app.cli.vulture.command import main as main
