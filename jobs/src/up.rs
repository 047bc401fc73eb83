//! `watershed up`: everything in one process.

use std::process::ExitCode;

use crate::project::Place;
use crate::say;
use crate::stack::Stack;
use crate::{process, scheduler, serve};

pub async fn up(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let stack = Stack::start(&workspace, workspace.store()?).await?;
    if stack.kafka.is_embedded() {
        say::line(format!("broker: {}", stack.kafka.brokers()));
    }
    let scheduler = scheduler::start(&workspace, stack.runner.clone())?;
    let ready = async {
        stack.ready().await;
        say::line(format!("ready: {}://{}", serve::scheme(&workspace.settings), stack.address()));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        stop = process::told_to_stop() => stop?,
        () = ready => {}
    }
    tracing::info!("stopping");
    scheduler.stop().await;
    stack.stop().await;
    Ok(ExitCode::SUCCESS)
}
