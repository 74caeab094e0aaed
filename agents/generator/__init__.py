"""Parts of the metrics generator's agent: places in Kafka, pushes on their way to targets, the journal."""
