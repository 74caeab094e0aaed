"""What every agent shares: the Faust app, its Kafka consumer and the watchdog, and records of topic `spans`."""
