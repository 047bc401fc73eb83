//! Clients that do not read what they asked for.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// A question whose answer is large, with nothing in the store: an empty row for every hour of eighty years.
const LARGE: &str = "/v1/views/trips_hourly/query?measures=trips&group_by=&fill=null&from=1970-01-01T00:00:00Z&to=2050-01-01T00:00:00Z";

async fn send(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.server.address).await.expect("the server listens");
    let request = format!("GET {LARGE} HTTP/1.1\r\nHost: here\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    stream
}

/// For how long a byte is read now and then. A slow reader is to be let go before.
const TRICKLE: Duration = Duration::from_secs(22);

/// Reads a byte now and then. Whether the server has let go then; `None` for one that it had no room for.
async fn trickle(mut stream: TcpStream) -> Option<bool> {
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer begins");
    if status.ends_with(b"429") {
        return None;
    }
    let (began, mut byte) = (Instant::now(), [0]);
    while began.elapsed() < TRICKLE {
        if !matches!(stream.read(&mut byte).await, Ok(1)) {
            return Some(true);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The system's buffers hold more than is read here: only writing shows whether the other end is there.
    for _ in 0..2 {
        if stream.write_all(b"\r\n").await.is_err() {
            return Some(true);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Some(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_large_answers_are_let_go_while_others_are_served() {
    let world = World::with_both_sides().await;
    let whole = world.get(LARGE).await;
    assert_eq!(whole.status(), 200);
    let bytes = whole.bytes().await.expect("one who reads gets all of it").len();
    assert!(bytes > 16 << 20, "the answer is large: {bytes} bytes");

    let slow: Vec<_> = futures::future::join_all((0..6).map(|_| send(&world))).await;
    let readers = futures::future::join_all(slow.into_iter().map(|stream| tokio::spawn(trickle(stream))));
    let healthy = async {
        for _ in 0..20 {
            let began = Instant::now();
            world.ask(json!({ "view": "trips_hourly" })).await;
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "a small question waits: {:?}",
                began.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (ended, ()) = tokio::join!(readers, healthy);
    let ended: Vec<bool> = ended.into_iter().filter_map(|ended| ended.expect("the reader ends")).collect();
    assert!(
        !ended.is_empty() && ended.iter().all(|let_go| *let_go),
        "slow readers are still served: {ended:?}"
    );
    // Their room is free again.
    assert_eq!(world.get(LARGE).await.status(), 200);
}
