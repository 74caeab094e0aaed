"""`stretto run`: a Kafka of its own, the worker, and the eye that keeps both alive, on one machine."""
