//! What a process counts itself: requests and answers.
//!
//! Labels are bounded: a route is the pattern that matched, never the path that was asked, and what no pattern matches
//! is one.

use std::time::{Duration, Instant};

use actix_web::Error;
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::answer::Answer;

/// Upper bounds in seconds: from an answer out of memory to one that reads events anew.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The counts of one server.
pub struct Requests {
    registry: Registry,
    durations: Family<Asked, Histogram>,
    in_flight: Gauge,
    answers: Option<Family<Answered, Counter>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    route: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    stream: String,
    complete: bool,
}

/// A request that is being answered, until it is dropped.
struct InFlight(Gauge);

impl Requests {
    /// Of a server that answers questions about these streams. Their counts begin at zero and not with the first answer.
    pub fn of_a_server<'a>(streams: impl IntoIterator<Item = &'a str>) -> Self {
        let mut requests = Requests::of_a_node();
        let answers = Family::<Answered, Counter>::default();
        for stream in streams {
            for complete in [true, false] {
                drop(answers.get_or_create(&Answered { stream: stream.to_string(), complete }));
            }
        }
        requests.registry.register(
            "watershed_answers",
            "Answers to questions about a view, by whether they were complete",
            answers.clone(),
        );
        requests.answers = Some(answers);
        requests
    }

    /// Of a speed node, which gives partials and no answers.
    pub fn of_a_node() -> Self {
        let mut registry = Registry::default();
        let durations: Family<Asked, Histogram> = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "watershed_http_request_duration",
            "From a request's head to its response's, by route and class of status",
            Unit::Seconds,
            durations.clone(),
        );
        let in_flight = Gauge::default();
        registry.register(
            "watershed_http_requests_in_flight",
            "Requests that are being answered",
            in_flight.clone(),
        );
        Requests { registry, durations, in_flight, answers: None }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts an answer.
    pub fn answered(&self, answer: &Answer) {
        if let Some(answers) = &self.answers {
            let (stream, complete) = (answer.block.stream.clone(), answer.block.complete);
            answers.get_or_create(&Answered { stream, complete }).inc();
        }
    }

    fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    fn responded(&self, route: Option<String>, status: StatusCode, took: Duration) {
        let route = route.unwrap_or_else(|| "unknown".to_string());
        let asked = Asked { route, status: class(status) };
        self.durations.get_or_create(&asked).observe(took.as_secs_f64());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// Measures every request, from `began` on. One whose client goes away is counted as in flight until then, and by no status.
pub async fn measured<B>(
    requests: &Requests,
    began: Instant,
    work: impl Future<Output = Result<ServiceResponse<B>, Error>>,
) -> Result<ServiceResponse<B>, Error> {
    let _in_flight = requests.begin();
    let responded = work.await;
    let (route, status) = match &responded {
        Ok(response) => (response.request().match_pattern(), response.status()),
        Err(error) => (None, error.as_response_error().status_code()),
    };
    requests.responded(route, status, began.elapsed());
    responded
}
