import sys

from app.cli.demo.command import main

sys.exit(main(sys.argv[1:]))
