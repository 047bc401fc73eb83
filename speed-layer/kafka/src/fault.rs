//! librdkafka's errors as the log's.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use watershed_schemas::log::LogError;

/// An error that came of settings or of the network.
pub(crate) fn fault(brokers: &str, error: KafkaError) -> LogError {
    match error {
        KafkaError::ClientConfig(_, reason, setting, _) => {
            let hint = tls_hint(&setting, &reason);
            LogError::Setting { setting, reason: format!("{reason}{hint}") }
        }
        KafkaError::ClientCreation(reason) => {
            let hint = tls_hint("", &reason);
            LogError::Setting { setting: "[kafka.client]".to_string(), reason: format!("{reason}{hint}") }
        }
        error => {
            let reason = match error.rdkafka_error_code() {
                Some(code) => code.to_string(),
                None => error.to_string(),
            };
            LogError::Unavailable { brokers: brokers.to_string(), reason }
        }
    }
}

/// An error of one topic.
pub(crate) fn topic_fault(brokers: &str, topic: &str, code: RDKafkaErrorCode) -> LogError {
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => LogError::UnknownTopic { topic: topic.to_string() },
        code => unavailable(brokers, format!("topic {topic}: {code}")),
    }
}

pub(crate) fn unavailable(brokers: &str, reason: impl Into<String>) -> LogError {
    LogError::Unavailable { brokers: brokers.to_string(), reason: reason.into() }
}

/// What to do about a setting that this build of librdkafka cannot serve.
fn tls_hint(setting: &str, reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    let wants_tls = setting.starts_with("ssl.")
        || (setting == "security.protocol" && reason.contains("ssl"))
        || (setting.starts_with("sasl.") && reason.contains("not available"))
        || reason.contains("openssl");
    if wants_tls && !cfg!(feature = "tls") {
        ": this build has no TLS, rebuild with `--features tls`"
    } else {
        ""
    }
}
