//! A broker in a process of its own, so that what it costs is not counted, and cores for either side.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use support::platform::Kafka;

/// What the benchmark is started with to be a broker.
pub const BROKER: &str = "--broker";

pub struct BrokerApart {
    child: Child,
    pub address: String,
}

impl BrokerApart {
    pub fn start() -> BrokerApart {
        let benchmark = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(benchmark)
            .arg(BROKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut address = String::new();
        let told = child.stdout.take().expect("a pipe");
        BufReader::new(told).read_line(&mut address).expect("the broker says where it listens");
        BrokerApart { child, address: address.trim().to_string() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BrokerApart {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the broker ends with its input");
    }
}

/// Is a broker until the input ends.
pub async fn be_a_broker() {
    let kafka = Kafka::start().await;
    println!("{}", kafka.brokers);
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    ended.await.expect("a thread").expect("the input can be read");
    kafka.stop().await;
}

/// Keeps all threads of a process on one core from now on, and those that they start. False where that cannot be done.
pub fn pin(pid: u32, cores: &str) -> bool {
    let taskset = Command::new("taskset")
        .args(["-a", "-c", "-p", cores, &pid.to_string()])
        .stdout(Stdio::null())
        .status();
    taskset.is_ok_and(|status| status.success())
}
