//! What 500 slow clients cost the others: headers and bodies that come byte by byte, and answers that nobody reads.

use std::time::{Duration, Instant};

use reqwest::Client;
use support::command::{Folder, Service};
use support::serving::client;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::table::{Table, percentile};

const CLIENTS: usize = 500;
/// Every slow client is let go within this time.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN_BYTES: Duration = Duration::from_secs(1);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(10);
/// A row for every hour of a year, more than a megabyte: more than the buffers of a connection hold.
const LARGE: &str =
    "/v1/views/sales/query?group_by=&fill=null&from=2015-01-01T00:00:00Z&to=2016-01-01T00:00:00Z";
/// How much more memory the server may take among them.
const MOST_BYTES: u64 = 100 << 20;

#[derive(Clone, Copy, Debug)]
enum Slow {
    Headers,
    Body,
    Reading,
}

impl Slow {
    /// What is sent at once; the rest follows byte by byte, without an end.
    fn beginning(self) -> String {
        match self {
            Slow::Headers => "GET /healthz HTTP/1.1\r\nHost: here\r\nX: ".to_string(),
            Slow::Body => {
                "POST /v1/query HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{".to_string()
            }
            Slow::Reading => format!("GET {LARGE} HTTP/1.1\r\nHost: here\r\n\r\n"),
        }
    }

    /// Is slow for as long as the server bears it.
    async fn attack(self, address: String) {
        let Ok(mut stream) = TcpStream::connect(&address).await else { return };
        if stream.write_all(self.beginning().as_bytes()).await.is_err() {
            return;
        }
        let until = Instant::now() + 2 * PATIENCE;
        while Instant::now() < until {
            tokio::time::sleep(BETWEEN_BYTES).await;
            if !matches!(self, Slow::Reading) && stream.write_all(b" ").await.is_err() {
                return;
            }
        }
    }
}

pub async fn measure(table: &mut Table, rounds: usize) {
    let folder = Folder::with_project();
    let up = Service::start(folder.command(&["up"]));
    let server = up.line("ready:");
    let address = server.trim_start_matches("http://").to_string();
    let port: u16 =
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address has a port");
    let (mut ratios, mut calm, mut besieged) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.min(3) {
        let healthy = client();
        let mut alone = ask(&healthy, &server, Duration::from_secs(5)).await;
        let before = resident_bytes(up.process());
        let attacks = (0..CLIENTS).map(|index| [Slow::Headers, Slow::Body, Slow::Reading][index % 3]);
        let attacks: Vec<_> = attacks.map(|slow| tokio::spawn(slow.attack(address.clone()))).collect();
        let began = Instant::now();
        let asking = tokio::spawn({
            let (healthy, server) = (healthy.clone(), server.clone());
            async move { ask(&healthy, &server, PATIENCE).await }
        });
        let (mut most_bytes, mut most_held, mut last_held) = (before, 0, Duration::ZERO);
        while began.elapsed() < PATIENCE + Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // The healthy client keeps one connection.
            let held = held(port).saturating_sub(1);
            most_held = most_held.max(held);
            most_bytes = most_bytes.max(resident_bytes(up.process()));
            if held > 0 {
                last_held = began.elapsed();
            }
        }
        let mut among = asking.await.expect("the healthy client ends");
        attacks.into_iter().for_each(|attack| attack.abort());
        assert!(most_held > CLIENTS / 2, "{most_held} of {CLIENTS} slow clients were there at once");
        assert!(last_held < PATIENCE, "a slow client is still held after {last_held:?}");
        assert!(most_bytes - before < MOST_BYTES, "{} more bytes resident", most_bytes - before);
        println!(
            "{CLIENTS} slow clients: at most {most_held} held at once, the last let go after {:.1} s, {:.1} MiB more resident",
            last_held.as_secs_f64(),
            (most_bytes - before) as f64 / f64::from(1 << 20)
        );
        let (alone, among) = (percentile(&mut alone, 0.99), percentile(&mut among, 0.99));
        ratios.push(among / alone);
        calm.push(alone);
        besieged.push(among);
    }
    let shown = |rounds: &[f64]| format!("{:.2} ms", crate::table::median(rounds));
    table.add("p99 among 500 slow clients over p99 alone", shown(&besieged), shown(&calm), ratios);
}

/// Asks a small question again and again; how long each took, in milliseconds. None may fail.
async fn ask(client: &Client, server: &str, time: Duration) -> Vec<f64> {
    let url = format!("{server}/v1/views/sales/query?grain=all&group_by=");
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let asked = Instant::now();
        let response = client.get(&url).send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        response.bytes().await.expect("the answer is whole");
        took.push(asked.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
    took
}

/// Connections that the server has not closed, as the system sees them.
fn held(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSED_BY_THE_CLIENT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("this system tells of its connections");
    let local = format!(":{port:04X}");
    let is_held = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        let is_ours = columns.next().is_some_and(|address| address.ends_with(&local));
        is_ours && matches!(columns.nth(1), Some(ESTABLISHED | CLOSED_BY_THE_CLIENT))
    };
    table.lines().skip(1).filter(is_held).count()
}

fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.expect("the system tells of its memory") << 10
}
