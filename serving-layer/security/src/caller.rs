//! Who asks.

use std::sync::{Arc, OnceLock};

use crate::grant::Grant;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody was asked for credentials.
    Anyone,
    Key {
        id: String,
        name: String,
    },
    Token {
        subject: String,
        /// Seconds since 1970-01-01.
        expires_at: i64,
    },
}

/// One request's caller.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub grant: Arc<Grant>,
    question: Arc<OnceLock<String>>,
}

impl Caller {
    pub fn new(identity: Identity, grant: Arc<Grant>) -> Self {
        Caller { identity, grant, question: Arc::default() }
    }

    /// A name for logs and counts, of one caller alone and no secret.
    pub fn id(&self) -> String {
        match &self.identity {
            Identity::Anyone => "anyone".to_string(),
            Identity::Key { id, .. } => format!("key:{id}"),
            Identity::Token { subject, .. } => format!("token:{subject}"),
        }
    }

    /// Notes what is asked, where the address does not say it; the first note stays. Nobody reads what anyone asks.
    pub fn note(&self, question: &[u8]) {
        const MOST_BYTES: usize = 4_096;
        if self.identity == Identity::Anyone {
            return;
        }
        let shown = &question[..question.len().min(MOST_BYTES)];
        let ended = if shown.len() < question.len() { "…" } else { "" };
        _ = self.question.set(format!("{}{ended}", String::from_utf8_lossy(shown)));
    }

    pub fn question(&self) -> Option<&str> {
        self.question.get().map(String::as_str)
    }
}
