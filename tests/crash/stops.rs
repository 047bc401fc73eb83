//! SIGTERM: what was begun is finished or withdrawn, and the process is gone within seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::seed;
use crate::support::command::Folder;
use crate::support::deployment::{Deployment, STREAM, client};
use crate::support::load::{Orders, everything, send_orders};

const SECONDS: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_first_says_so_and_fails_no_request_that_it_took() {
    let seed = seed();
    let mut place = Deployment::start(1).await;
    place.set("serve.drain", "1s");
    let speed = place.speed(0);
    let serve = place.serve();
    send_orders(&place, 0..2_000, seed);
    serve.line("ready: ");
    place.until_current(&everything()).await;

    // As behind a load balancer: whoever asks looks at readiness, and sends nothing any more once it is off.
    let ready = Arc::new(AtomicBool::new(true));
    let (answered, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (ready, answered, failed) = (ready.clone(), answered.clone(), failed.clone());
            let (client, server) = (client(), place.server.clone());
            tokio::spawn(async move {
                while ready.load(Ordering::Acquire) {
                    let reply = client.post(format!("{server}/v1/query")).json(&everything()).send().await;
                    let whole = match reply {
                        Ok(reply) => reply.status() == 200 && reply.bytes().await.is_ok(),
                        Err(_) => false,
                    };
                    if whole { &answered } else { &failed }.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = answered.load(Ordering::Relaxed);
    let told = Instant::now();
    serve.tell_to_stop();
    let probe = client();
    loop {
        let status =
            probe.get(format!("{}/readyz", place.server)).send().await.expect("it is still there").status();
        if status == 503 {
            break;
        }
        assert!(told.elapsed() < Duration::from_secs(1), "readiness is still on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Load balancers look now and then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    ready.store(false, Ordering::Release);
    for asker in askers {
        asker.await.expect("no asker panics");
    }
    let code = serve.wait();
    println!("{} answered, {:?} from signal to exit", answered.load(Ordering::Relaxed), told.elapsed());
    assert_eq!(code, 0);
    assert!(told.elapsed() < SECONDS, "{:?}", told.elapsed());
    assert_eq!(failed.load(Ordering::Relaxed), 0, "requests that were taken and failed");
    assert!(answered.load(Ordering::Relaxed) > before, "some were answered after the signal");
    assert_eq!(speed.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speed_node_that_is_told_to_stop_saves_all_it_has_folded_before_others_take_over() {
    let seed = seed();
    let mut place = Deployment::start(2).await;
    // Only the last checkpoint can be the one that is resumed.
    place.set("speed.checkpoint_interval", "1h");
    let first = place.speed(0);
    let serve = place.serve();
    send_orders(&place, 0..3_000, seed);
    serve.line("ready: ");
    place.until_current(&everything()).await;
    let (code, took) = first.stop();
    assert_eq!(code, 0);
    assert!(took < SECONDS, "{took:?}");
    let ends = place.kafka.ends(&place.topic).expect("the broker is there");
    let second = place.speed(1);
    // It left the group: nobody waits for its session to end.
    let began = Instant::now();
    place.until_current(&everything()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let log = place.logged("speed-1");
    for (partition, end) in ends {
        let resumed =
            log.lines().any(|line| line.contains(&format!("partition={partition} live={end} resumed=true")));
        assert!(resumed, "partition {partition} was not resumed at {end}\n{log}");
    }
    assert_eq!(serve.stop().0, 0);
    assert_eq!(second.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_run_that_is_told_to_stop_withdraws_its_intent_and_keeps_nobody_waiting() {
    let seed = seed();
    let mut place = Deployment::start(1).await;
    place.set("batch.lease", "10m");
    send_orders(&place, 0..20_000, seed);
    let mut run = place.begin_batch();
    let intents = format!("intents/{STREAM}");
    while place.stored(&intents).is_empty() {
        assert_eq!(run.exit_code(), None, "it ended before it announced anything");
    }
    let (code, took) = run.stop();
    assert!(took < SECONDS, "{took:?}");
    assert_eq!(code, 1, "what was asked for was not done");
    assert!(place.logged("batch").contains("stopped by a signal"), "{}", place.logged("batch"));
    assert_eq!((place.stored(&intents), place.versions()), (Vec::new(), Vec::new()));
    let next = place.batch();
    assert!(next.code == 0 && next.out.contains("version 1 published"), "{next:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_in_one_process_stops_within_seconds_under_load() {
    let seed = seed();
    let place = Deployment::start(1).await;
    let up = crate::support::command::Service::start(place.command("up", &["up"]));
    let server = up.line("ready: ");
    let orders = Orders::keep_coming(&place, 300, seed);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let asked = client().post(format!("{server}/v1/query")).json(&json!({ "view": "sales" })).send().await;
    assert_eq!(asked.expect("an answer").status(), 200);
    let (code, took) = up.stop();
    println!("{took:?} from signal to exit");
    assert_eq!(code, 0, "{}", place.tails(&["up"]));
    assert!(took < SECONDS, "{took:?}");
    assert!(place.stored(&format!("intents/{STREAM}")).is_empty());
    orders.end();
    // A project without a broker of its own and with nothing to do stops as well.
    let idle = Folder::with_project();
    let up = idle.service(&["up"]);
    up.line("ready: ");
    let (code, took) = up.stop();
    assert!(code == 0 && took < SECONDS, "{code} after {took:?}");
}
