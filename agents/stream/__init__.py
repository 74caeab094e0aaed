"""Shared by all agents: the Faust app, its Kafka consumer and watchdog, and the records of topic `spans`."""
