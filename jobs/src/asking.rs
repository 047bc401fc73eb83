//! How `watershed query` and `watershed sql` ask a running server, and show what it says.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;
use watershed_security::{ClientTls, with_tls};

use crate::human::Span;
use crate::project::Place;
use crate::{key, process, say, serve, table};

#[derive(Args)]
pub struct Asking {
    /// [default: http://<serve.listen> of the project's settings]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A file with the key to ask with [default: the variable WATERSHED_KEY; none: without]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A certificate in PEM: whose server is believed [default: those that this system believes]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Asks again and again, until Ctrl-C [default: 2s]
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Arrow,
    Parquet,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Table | Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl Asking {
    /// Asks once, or until told to stop.
    pub async fn ask(
        &self,
        place: &Place,
        path: &str,
        question: &Value,
        telling: impl Fn(reqwest::StatusCode, &[u8]) -> String,
    ) -> anyhow::Result<ExitCode> {
        let server = match &self.server {
            Some(server) => server.trim_end_matches('/').to_string(),
            None => {
                let settings = place.settings()?;
                format!("{}://{}", serve::scheme(&settings), settings.serve.listen)
            }
        };
        let Some(every) = self.watch else {
            self.once(&server, path, question, &telling).await?;
            return Ok(ExitCode::SUCCESS);
        };
        let watching = async {
            loop {
                if std::io::stdout().is_terminal() && self.format == Format::Table {
                    // Home, and clear what is below.
                    print!("\x1b[H\x1b[J");
                }
                self.once(&server, path, question, &telling).await?;
                tokio::time::sleep(every.0.max(Duration::from_millis(100))).await;
            }
        };
        tokio::select! {
            stop = process::told_to_stop() => stop.map(|()| ExitCode::SUCCESS),
            failed = watching => failed,
        }
    }

    async fn once(
        &self,
        server: &str,
        path: &str,
        question: &Value,
        telling: &impl Fn(reqwest::StatusCode, &[u8]) -> String,
    ) -> anyhow::Result<()> {
        let tls = ClientTls { ca: self.ca_file.clone(), identity: None };
        let client = with_tls(reqwest::Client::builder().no_proxy(), &tls).context("--ca-file")?;
        let client = client.build().context("the HTTP client")?;
        let request = client.post(format!("{server}{path}")).json(question);
        let request = match key::credentials(self.key_file.as_ref())? {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        let sent = request.header("accept", self.format.media_type()).send().await;
        let answer = sent.with_context(|| {
            format!("no answer from {server}: is `watershed up` or `watershed serve` running there?")
        })?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(|| format!("the answer from {server} broke off"))?;
        if !status.is_success() {
            let hint = match status {
                reqwest::StatusCode::UNAUTHORIZED => ": put a key into WATERSHED_KEY or a file (--key-file)",
                _ => "",
            };
            bail!("{}{hint}", telling(status, &body));
        }
        if self.format == Format::Table {
            let answer: Value =
                serde_json::from_slice(&body).with_context(|| format!("the answer from {server}"))?;
            say::line(table::table(&answer).trim_end());
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(&body).and_then(|()| out.flush()).context("standard output")?;
        }
        Ok(())
    }
}

/// What a server says it cannot do, in a line.
pub fn problem(status: reqwest::StatusCode, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return format!("the server answered {status}");
    };
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or_default();
    match problem["did_you_mean"].as_str() {
        Some(name) => format!("{detail}, did you mean \"{name}\"? ({status})"),
        None => format!("{detail} ({status})"),
    }
}
