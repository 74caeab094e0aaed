"""What moves spans: stream jobs on Faust, each a thin file with `register(app, …)`."""
