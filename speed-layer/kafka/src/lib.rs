//! Kafka: the log, its producer and its administration, by librdkafka.
