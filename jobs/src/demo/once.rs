//! `watershed demo --once`: asks while records arrive and while versions are published, and recomputes every answer.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use watershed_batch::Outcome;
use watershed_schemas::offsets::Offsets;
use watershed_store::Store;

use super::replay::Replay;
use super::truth::{Dimension, Grain, Question};
use super::{STREAM, sample};
use crate::project::Workspace;
use crate::run::{Wishes, lines};
use crate::say;
use crate::stack::Stack;

/// How long the layers may take to catch up with what was sent.
const PATIENCE: Duration = Duration::from_secs(20);
/// A part of the live half goes out in this many pieces, so that questions fall between them.
const PIECES: usize = 40;

pub async fn once(
    workspace: &Workspace,
    stack: &Stack,
    store: &Store,
    replay: &Arc<Replay>,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let asker = Asker::new(stack.address().to_string())?;
    let total = replay.records.len();
    let half = total / 2;
    say::line(format!(
        "replaying {} flights of January 2013 and {} broken records",
        total - sample::mistakes(),
        sample::mistakes()
    ));

    // Before any version: everything is live.
    let mut answers = asker.while_sending(replay, 0..half).await?;
    answers.extend(asker.when_live(replay, None).await?);

    // A version is published while records arrive; the half that follows its watershed is live.
    let publishing = async {
        let outcome = stack.runner.run(STREAM, Wishes::default()).await?;
        show(&outcome);
        anyhow::Ok(())
    };
    let (published, asked) = tokio::join!(publishing, asker.while_sending(replay, half..total));
    published?;
    answers.extend(asked?);
    let before_last = asker.when_live(replay, Some(1)).await?;
    let live = before_last.first().map_or(0, |asked| {
        serde_json::from_value(asked.answer["answer"]["watershed"].clone())
            .map_or(0, |below| replay.ledger.at_or_above(&below))
    });
    answers.extend(before_last);

    // The last version takes in the rest.
    show(&stack.runner.run(STREAM, Wishes::default()).await?);
    answers.extend(asker.when_live(replay, Some(2)).await?);

    let (mut cells, mut wrong) = (0, Vec::new());
    for asked in &answers {
        let (compared, found) = asked.check(replay)?;
        cells += compared;
        wrong.extend(found);
    }
    for line in wrong.iter().take(20) {
        say::line(format!("WRONG {line}"));
    }
    say::line(format!(
        "answers        {} over HTTP, {cells} cells recomputed from the sample, {} wrong",
        answers.len(),
        wrong.len()
    ));
    say::line(format!("live           {live} of {total} records were live beside version 1"));
    let newest = store.newest(STREAM, None).await?.context("two versions were published")?;
    let dead_letters: u64 = newest.dead_letters.iter().map(|file| file.file.rows).sum();
    say::line(format!("dead letters   {dead_letters}, expected {}", sample::mistakes()));
    let differences = verify(workspace, store).await?;
    say::line(format!("took           {:.1} seconds", started.elapsed().as_secs_f64()));
    if !wrong.is_empty() || differences > 0 || dead_letters != sample::mistakes() as u64 {
        bail!(
            "{} wrong cells in answers, {differences} differences to DuckDB, {dead_letters} dead letters",
            wrong.len()
        );
    }
    say::line("every answer and every published cell is what the flights say");
    Ok(ExitCode::SUCCESS)
}

fn show(outcome: &Outcome) {
    for line in lines(outcome) {
        say::line(line);
    }
}

#[cfg(feature = "duckdb")]
async fn verify(workspace: &Workspace, store: &Store) -> anyhow::Result<usize> {
    Ok(crate::verify::verified(store, &workspace.project.views).await?.differences)
}

#[cfg(not(feature = "duckdb"))]
async fn verify(_workspace: &Workspace, _store: &Store) -> anyhow::Result<usize> {
    say::line("verify         left out: this build has no DuckDB");
    Ok(0)
}

fn questions() -> Vec<Question> {
    use Dimension::{Carrier, Origin};
    vec![
        Question { name: "cells", grain: Grain::Hour, by: vec![Carrier, Origin], carriers: vec![] },
        Question { name: "carriers", grain: Grain::All, by: vec![Carrier], carriers: vec![] },
        Question {
            name: "origins by day",
            grain: Grain::Day,
            by: vec![Origin],
            carriers: vec!["AA", "B6", "UA"],
        },
        Question { name: "everything", grain: Grain::All, by: vec![], carriers: vec![] },
    ]
}

/// A question and what was answered; it is checked when it is known where every record lies.
struct Asked {
    question: Question,
    answer: Value,
}

impl Asked {
    fn check(&self, replay: &Replay) -> anyhow::Result<(usize, Vec<String>)> {
        let block = &self.answer["answer"];
        if block["complete"] != true {
            return Ok((0, vec![format!("{}: the answer is not complete: {block}", self.question.name)]));
        }
        let live: Offsets =
            serde_json::from_value(block["live"].clone()).context("live offsets of an answer")?;
        Ok(self.question.check(&self.answer, &replay.flights_below(&live)))
    }
}

struct Asker {
    client: reqwest::Client,
    url: String,
}

impl Asker {
    fn new(address: String) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build().context("the HTTP client")?;
        Ok(Asker { client, url: format!("http://{address}/v1/query") })
    }

    async fn ask(&self, question: &Question) -> anyhow::Result<Value> {
        let answer = self.client.post(&self.url).json(&question.body()).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("{}: the server answered {status}: {body}", question.name);
        }
        Ok(serde_json::from_str(&body)?)
    }

    /// Sends records in pieces and asks all the time.
    async fn while_sending(
        &self,
        replay: &Arc<Replay>,
        indices: std::ops::Range<usize>,
    ) -> anyhow::Result<Vec<Asked>> {
        let sending = tokio::task::spawn_blocking({
            let replay = replay.clone();
            move || {
                let piece = indices.len().div_ceil(PIECES).max(1);
                for from in indices.clone().step_by(piece) {
                    replay.send_all(from..(from + piece).min(indices.end))?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                anyhow::Ok(())
            }
        });
        let mut answers = Vec::new();
        while !sending.is_finished() {
            for question in questions() {
                answers.push(Asked { answer: self.ask(&question).await?, question });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sending.await??;
        Ok(answers)
    }

    /// Asks everything when all that was sent is folded, and the answers stand on this version.
    async fn when_live(&self, replay: &Replay, version: Option<u64>) -> anyhow::Result<Vec<Asked>> {
        let end = replay.ledger.end();
        let deadline = Instant::now() + PATIENCE;
        let probe = Question { name: "probe", grain: Grain::All, by: vec![], carriers: vec![] };
        loop {
            let block = self.ask(&probe).await?["answer"].clone();
            let live: Offsets = serde_json::from_value(block["live"].clone()).unwrap_or_default();
            if live.covers(&end) && block["version"].as_u64() == version {
                break;
            }
            if Instant::now() >= deadline {
                bail!(
                    "after {PATIENCE:?} the answers stand at {block}, expected version {version:?} and live offsets {end}"
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut answers = Vec::new();
        for question in questions() {
            answers.push(Asked { answer: self.ask(&question).await?, question });
        }
        Ok(answers)
    }
}
