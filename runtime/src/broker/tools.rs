//! Kafka's command line tools by the names of their scripts.

/// The class behind a script such as `kafka-console-consumer`; a name that is none of
/// these is taken for a class.
pub fn class_of(name: &str) -> &str {
    match name {
        "kafka-console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "kafka-transactions" => "org.apache.kafka.tools.TransactionsCommand",
        "kafka-consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "kafka-delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "kafka-reassign-partitions" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "kafka-leader-election" => "org.apache.kafka.tools.LeaderElectionCommand",
        "kafka-producer-perf-test" => "org.apache.kafka.tools.ProducerPerformance",
        class => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_become_classes_and_classes_stay() {
        assert_eq!(
            class_of("kafka-transactions"),
            "org.apache.kafka.tools.TransactionsCommand"
        );
        assert_eq!(class_of("com.example.Tool"), "com.example.Tool");
    }
}
