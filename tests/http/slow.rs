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

/// Reads a byte now and then until the connection ends.
async fn trickle(mut stream: TcpStream) -> Duration {
    let mut byte = [0];
    _ = stream.read(&mut byte).await;
    let began = Instant::now();
    while let Ok(1) = stream.read(&mut byte).await {
        assert!(began.elapsed() < Duration::from_secs(40), "a slow reader is still served");
        tokio::time::sleep(Duration::from_millis(500)).await;
        // What the system's buffers hold would take hours: it is enough to see whether the other end is there.
        if stream.write_all(b"\r\n").await.is_err() {
            break;
        }
    }
    began.elapsed()
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
    for ended in ended {
        let after = ended.expect("the reader ends");
        assert!(after < Duration::from_secs(30), "a slow reader was served for {after:?}");
    }
    // Their room is free again.
    assert_eq!(world.get(LARGE).await.status(), 200);
}
