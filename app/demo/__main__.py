import sys

from app.demo.command import main

sys.exit(main(sys.argv[1:]))
