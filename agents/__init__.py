"""The jobs that move spans: stream jobs on Faust. Each is a thin file with `register(app, …)`."""
