//! `watershed key`: API keys are made, listed and revoked.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use watershed_security::{Denied, Grant, Key, KeyRequest, KeyStore, Rate, Verb};

use crate::human::Span;
use crate::outcome::Refusal;
use crate::project::{Place, Workspace, unknown};
use crate::{say, security};

#[derive(Subcommand)]
pub enum Action {
    /// Make a key and print it: it cannot be shown again
    Create(Box<Create>),
    /// List the keys, without their secrets
    List,
    /// Revoke a key: servers refuse it within a second
    Revoke(Revoke),
}

#[derive(Args)]
pub struct Create {
    /// What lists and logs call it
    #[arg(value_name = "NAME")]
    name: String,
    /// Views that it sees [default: all, later ones too]
    #[arg(long, value_name = "VIEW,…", value_delimiter = ',')]
    views: Option<Vec<String>>,
    /// What it may do: query, live, sql, ingest, status, metrics
    #[arg(long, value_name = "VERB,…", value_delimiter = ',', default_value = "query,live,sql,status")]
    verbs: Vec<Verb>,
    /// The rows it sees and may write, in the language of views: "origin IN ('JFK')"
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// How often it may ask: 100/s, 600/m, 10000/h [default: any number of times]
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// After a time (90days) or at one (2027-01-31, 2027-01-31T12:00:00Z) [default: never]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

#[derive(Args)]
pub struct Revoke {
    /// Its id, or its name
    #[arg(value_name = "KEY")]
    key: String,
}

pub fn key(place: &Place, action: Action) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let Some(file) = security::key_file(&workspace) else {
        bail!(
            "setting security.keys is missing: name the file of keys in watershed.toml, such as\n[security]\nkeys = \"keys.json\""
        );
    };
    match action {
        Action::Create(create) => self::create(&workspace, file, *create),
        Action::List => list(file),
        Action::Revoke(revoke) => self::revoke(file, &revoke.key),
    }
}

fn create(workspace: &Workspace, file: PathBuf, create: Create) -> anyhow::Result<ExitCode> {
    let now = Utc::now();
    let Create { name, views, verbs, filter, rate, expires } = create;
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        bail!(Refusal::Usage("NAME: expected 1 to 100 characters".to_string()));
    }
    if KeyStore::list(&file)?.iter().any(|key| key.name == name && key.is_current(now)) {
        bail!("there is a key {name} already: revoke it first, or give this one another name");
    }
    let expires_at = expires.as_deref().map(|text| expiry(text, now)).transpose()?;
    let known: Vec<&str> = workspace.project.views.iter().map(|view| view.name.as_str()).collect();
    if let Some(missing) = views.iter().flatten().find(|view| !known.contains(&view.as_str())) {
        bail!(unknown("view", missing, &known));
    }
    let (key, secret) = Key::make(KeyRequest { name, views, verbs, filter, rate, expires_at }, now)?;
    let hidden = check(workspace, &key.grant())?;
    let (id, name) = (key.id.clone(), key.name.clone());
    KeyStore::add(&file, key)?;
    say::line(secret.expose());
    eprintln!(
        "key {name} ({id}) is in {}; what is printed above is not stored and cannot be shown again",
        file.display()
    );
    for reason in hidden {
        eprintln!("note: {reason}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a key that reaches nothing; gives what it does not reach though it was named.
fn check(workspace: &Workspace, grant: &Grant) -> anyhow::Result<Vec<String>> {
    let project = &workspace.project;
    let mut hidden = Vec::new();
    let mut reached = 0;
    let reads = Verb::ALL.iter().any(|verb| *verb != Verb::Ingest && grant.may(*verb));
    let reason = |denied| match denied {
        Denied::Unknown => None,
        Denied::Forbidden(reason) => Some(reason),
    };
    for view in project.views.iter().filter(|_| reads) {
        match grant.cells(view) {
            Ok(_) => reached += 1,
            Err(denied) => hidden.extend(reason(denied)),
        }
    }
    for stream in project.streams.iter().filter(|_| grant.may(Verb::Ingest)) {
        match grant.events(project, stream) {
            Ok(_) => reached += 1,
            Err(denied) => hidden.extend(reason(denied)),
        }
    }
    if reached == 0 && !hidden.is_empty() {
        bail!("--where: {}", hidden.join("; "));
    }
    Ok(hidden)
}

/// `90days` from now, or a date or time.
fn expiry(text: &str, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    let day = |text: &str| {
        let day = text.parse::<NaiveDate>().ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc())
    };
    let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let after = |text: &str| {
        let Span(span) = text.parse().ok()?;
        now.checked_add_signed(chrono::Duration::from_std(span).ok()?)
    };
    let expires_at = day(text).or_else(|| time(text)).or_else(|| after(text)).ok_or_else(|| {
        anyhow!(Refusal::Usage(format!(
            "--expires {text}: expected a time from now such as 90days, or a date such as 2027-01-31"
        )))
    })?;
    match expires_at > now {
        true => Ok(expires_at),
        false => bail!(Refusal::Usage(format!("--expires {text}: that is over already"))),
    }
}

fn list(file: PathBuf) -> anyhow::Result<ExitCode> {
    let now = Utc::now();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["id", "name", "state", "verbs", "views", "where", "rate", "created", "expires"]);
    let shown = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    for key in KeyStore::list(&file)? {
        let verbs: Vec<&str> = key.verbs.iter().map(|verb| verb.name()).collect();
        let state = key.state(now).to_string();
        table.add_row([
            key.id,
            key.name,
            state,
            verbs.join(","),
            key.views.map_or("all".to_string(), |views| views.join(",")),
            key.filter.unwrap_or_else(|| "all rows".to_string()),
            key.rate.map_or("any".to_string(), |rate| rate.to_string()),
            shown(&key.created_at),
            key.expires_at.as_ref().map_or("never".to_string(), shown),
        ]);
    }
    say::line(table.to_string().trim_end());
    Ok(ExitCode::SUCCESS)
}

fn revoke(file: PathBuf, wanted: &str) -> anyhow::Result<ExitCode> {
    let revoked = KeyStore::revoke(&file, wanted, Utc::now())?;
    if revoked.is_empty() {
        let keys = KeyStore::list(&file)?;
        let names: Vec<&str> =
            keys.iter().filter(|key| key.revoked_at.is_none()).map(|key| key.name.as_str()).collect();
        bail!(unknown("key", wanted, &names));
    }
    for id in revoked {
        say::line(format!("revoked {id}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the environment or a file gives as the key of a command that asks a server.
pub const VARIABLE: &str = "WATERSHED_KEY";

/// The key to send: of the file, else of the environment; none: none is sent.
pub fn credentials(file: Option<&PathBuf>) -> anyhow::Result<Option<watershed_security::Secret>> {
    use watershed_security::{Reference, Secret};
    if let Some(path) = file {
        return Ok(Some(Reference::File(path.clone()).read(&PathBuf::new()).context("--key-file")?));
    }
    let told = std::env::var(VARIABLE).ok().map(|text| text.trim().to_string());
    Ok(told.filter(|text| !text.is_empty()).map(Secret::new))
}
