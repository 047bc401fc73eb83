//! The broker or the store is away for a while, under load.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::seed;
use crate::support::deployment::Deployment;
use crate::support::load::{Judge, Orders, Questions, everything};
use crate::support::platform::unique;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_started_again_costs_no_record_and_no_answer() {
    let seed = seed();
    let mut place = Deployment::start(1).await;
    if place.broker.is_none() {
        println!("this Apache Kafka is not started again (KAFKA_SUPERVISE=1 tests/kafka.sh): nothing shown");
        return;
    }
    let speed = place.speed(0);
    let serve = place.serve();
    serve.line("ready: ");
    place.until_current(&everything()).await;
    let orders = Orders::keep_coming(&place, 300, seed);
    // Without a version there is nothing to answer from while nobody holds the partitions.
    place.publish();
    place.until_current(&everything()).await;
    let questions = Questions::keep_coming(&place);
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        // A node that heard no broker for long has lost its partitions and is given them back only now.
        place.until_current(&everything()).await;
        let run = place.begin_batch();
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        let broker = place.broker.as_mut().expect("it may be killed");
        broker.kill();
        let answered = questions.answered();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(questions.answered() > answered, "no answers without the broker");
        broker.start_again();
        // It goes on where it was, or says that it could not: the next one finishes.
        let code = run.wait();
        assert!(code == 0 || code == 1, "exit code {code}\n{}", place.tails(&["batch"]));
    }
    // The runs may all have failed.
    place.publish();
    place.until_current(&everything()).await;
    let sent = orders.end();
    place.publish();
    place.until_current(&everything()).await;
    let asked = questions.end().await;
    let mut judge = Judge::of(&place.kafka, &place.topic);
    let verdict = judge.judge(&asked);
    println!("{sent} records sent, {} orders, {verdict:?}, wrong: 0", judge.orders());
    assert_eq!((verdict.unanswered, verdict.refused), (0, 0));
    assert!(verdict.straddling > 0, "{verdict:?}");
    assert_eq!(serve.stop().0, 0);
    assert_eq!(speed.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_fails_runs_plainly_and_is_gone_on_with_when_it_is_back() {
    let seed = seed();
    let place = Deployment::start(1).await;
    let speed = place.speed(0);
    let serve = place.serve();
    serve.line("ready: ");
    place.until_current(&everything()).await;
    let orders = Orders::keep_coming(&place, 300, seed);
    let questions = Questions::keep_coming(&place);
    tokio::time::sleep(Duration::from_millis(700)).await;
    place.publish();
    tokio::time::sleep(Duration::from_millis(700)).await;

    let (here, away) = (place.folder.path("data"), place.folder.path("away"));
    let versions = place.versions();
    // Away with something else in its place, as of a mount that failed; then away with nothing in its place.
    for something_else in [true, false] {
        std::fs::rename(&here, &away).expect("the store goes");
        let answered = questions.answered();
        if something_else {
            std::fs::write(&here, "no folder").expect("a file in its place");
            let refused = place.batch();
            assert_eq!(refused.code, 1, "{refused:?}");
            assert!(refused.err.contains(here.to_str().expect("UTF-8")), "{}", refused.err);
        }
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(questions.answered() > answered, "no answers without the store");
        if something_else {
            std::fs::remove_file(&here).expect("the file is ours");
        }
        assert!(!here.exists(), "a store that is away was made anew: {:?}", place.stored(""));
        std::fs::rename(&away, &here).expect("the store is back");
        place.publish();
    }
    orders.end();
    place.publish();
    assert!(place.versions().last() > versions.last());
    place.until_current(&everything()).await;
    let asked = questions.end().await;
    let mut judge = Judge::of(&place.kafka, &place.topic);
    let verdict = judge.judge(&asked);
    println!("{} orders, {verdict:?}, wrong: 0", judge.orders());
    assert_eq!((verdict.unanswered, verdict.refused), (0, 0));
    assert_eq!(serve.stop().0, 0);
    assert_eq!(speed.stop().0, 0);
}

/// A way to a server that can be cut and mended.
struct Way {
    address: String,
    open: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(server: &str) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one").to_string();
        let way = Way { address, open: Arc::new(AtomicBool::new(true)), connections: Arc::default() };
        let (open, connections, server) = (way.open.clone(), way.connections.clone(), server.to_string());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten().filter(|_| open.load(Ordering::Acquire)) {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let other = |end: &TcpStream| end.try_clone().expect("a second handle");
                connections.lock().expect("nobody panics in here").push(other(&client));
                for (mut from, mut to) in [(other(&client), other(&server)), (server, client)] {
                    std::thread::spawn(move || {
                        // Cut or ended: either way the other side hears of it.
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        way
    }

    fn cut(&self) {
        self.open.store(false, Ordering::Release);
        for connection in self.connections.lock().expect("nobody panics in here").drain(..) {
            // One that has ended already cannot be cut, which is well.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.open.store(true, Ordering::Release);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_cannot_be_reached_for_a_while_is_waited_for() {
    let seed = seed();
    let (Ok(bucket), Ok(endpoint)) = (std::env::var("WATERSHED_TEST_S3"), std::env::var("AWS_ENDPOINT_URL"))
    else {
        println!("there is no bucket (tests/s3.sh): nothing shown");
        return;
    };
    let way = Way::to(endpoint.trim_start_matches("http://"));
    let mut place = Deployment::start(1).await;
    place.set_variable("AWS_ENDPOINT_URL", &format!("http://{}", way.address));
    place.set("store.url", &format!("{bucket}/{}", unique("crash")));
    let speed = place.speed(0);
    let serve = place.serve();
    serve.line("ready: ");
    place.until_current(&everything()).await;
    let orders = Orders::keep_coming(&place, 300, seed);
    let questions = Questions::keep_coming(&place);
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let run = place.begin_batch();
        tokio::time::sleep(Duration::from_millis(300 * round)).await;
        way.cut();
        let answered = questions.answered();
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        assert!(questions.answered() > answered, "no answers without the store");
        way.mend();
        // It waited, or says that it could not: the next one finishes.
        let code = run.wait();
        assert!(code == 0 || code == 1, "exit code {code}\n{}", place.tails(&["batch"]));
        place.publish();
    }
    orders.end();
    place.publish();
    place.until_current(&everything()).await;
    let asked = questions.end().await;
    let mut judge = Judge::of(&place.kafka, &place.topic);
    let verdict = judge.judge(&asked);
    println!("{} orders, {verdict:?}, wrong: 0", judge.orders());
    assert_eq!((verdict.unanswered, verdict.refused), (0, 0));
    assert!(verdict.versions > 2 && verdict.straddling > 0, "{verdict:?}");
    assert_eq!(serve.stop().0, 0);
    assert_eq!(speed.stop().0, 0);
}
