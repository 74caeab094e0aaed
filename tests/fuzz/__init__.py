"""Fuzzing: bytes that no client should send, fed to every place that reads bytes from outside.

    python -m tests.fuzz                      # a minute for each target
    python -m tests.fuzz --minutes 30 --target otlp_protobuf

`targets.py` lists the targets. A target takes any bytes and raises only where the product has a fault. Each runs in a
process of its own with a limit of memory and a limit of time for one input. Inputs that broke something once stay in
`seeds/`; the tests run them again each time.
"""
