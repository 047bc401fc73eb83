//! Starting and stopping servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{App, HttpServer, web};
use tokio_util::sync::CancellationToken;
use watershed_schemas::live::LiveSource;
use watershed_schemas::log::Log;
use watershed_schemas::project::Project;
use watershed_schemas::sink::Sink;
use watershed_security::{Certificates, Gate, NodeSecret, TlsError};
use watershed_store::Store;

use super::guard::{Callers, Servers};
use super::metrics::{self, Requests};
use super::{naming, origins, routes, slow, status};
use crate::ask::Serving;
use crate::follow::Follow;
use crate::ingest::Ingest;
use crate::sql::{Sql, SqlSettings};
use crate::versions::Streams;

/// How long a client may take to send its headers.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long questions that are being answered may take after a stop.
const STOP_TIMEOUT_SECONDS: u64 = 10;

/// Asks a server's clients to look for another one.
#[derive(Clone, Default)]
pub(super) struct Draining(CancellationToken);

impl Draining {
    pub fn is_on(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Binds and runs a server: its type names the closure that builds it.
macro_rules! serve {
    ($server:expr, $listen:expr, $setting:literal, $certificates:expr, $stop:expr) => {{
        let listen: String = $listen;
        let certificates: Option<Arc<Certificates>> = $certificates;
        let server = $server
            .client_request_timeout(CLIENT_TIMEOUT)
            .on_connect(slow::on_connect)
            .shutdown_timeout(STOP_TIMEOUT_SECONDS)
            .disable_signals();
        let bound = match &certificates {
            Some(certificates) => server.bind_rustls_0_23(&listen, certificates.config()?),
            None => server.bind(&listen),
        };
        let server = bound.map_err(|source| ServeError::Listen {
            listen: listen.clone(),
            setting: $setting,
            source,
        })?;
        if let Some(certificates) = certificates {
            tokio::spawn(keep_current(certificates, $stop.clone()));
        }
        let address = server.addrs()[0];
        let server = server.run();
        let running = Running { handle: server.handle(), stop: $stop };
        tokio::spawn(server);
        (address, running)
    }};
}

/// Settings of the HTTP API.
#[derive(Clone)]
pub struct ServeSettings {
    /// `serve.listen`: `host:port`; port 0 picks one.
    pub listen: String,
    /// Threads that serve connections; `None`: one per core.
    pub workers: Option<usize>,
    /// `serve.wait_for_partitions`: how long a question waits for partitions that one speed node hands over to another.
    pub wait_for_partitions: Duration,
    /// Who may ask.
    pub gate: Arc<Gate>,
    /// TLS; none: plain HTTP.
    pub certificates: Option<Arc<Certificates>>,
    /// Whose pages may ask from a browser, beside this server's own.
    pub cors_origins: Vec<String>,
    /// Whether `/metrics` is for everybody.
    pub open_metrics: bool,
    /// `[sql]`; `None`: there is no SQL.
    pub sql: Option<SqlSettings>,
}

impl ServeSettings {
    /// Everybody may do everything.
    pub fn new(listen: impl Into<String>) -> Self {
        ServeSettings {
            listen: listen.into(),
            workers: None,
            wait_for_partitions: Duration::from_secs(1),
            gate: Arc::new(Gate::open()),
            certificates: None,
            cors_origins: Vec::new(),
            open_metrics: true,
            sql: None,
        }
    }
}

/// Settings of a partials endpoint.
#[derive(Clone)]
pub struct PartialsSettings {
    /// `speed.listen`.
    pub listen: String,
    /// What servers must know; none: nothing.
    pub secret: Option<NodeSecret>,
    pub certificates: Option<Arc<Certificates>>,
    pub open_metrics: bool,
}

impl From<&str> for PartialsSettings {
    /// Everybody may ask.
    fn from(listen: &str) -> Self {
        let listen = listen.to_string();
        PartialsSettings { listen, secret: None, certificates: None, open_metrics: true }
    }
}

/// A server that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {listen}: {source}; set {setting} to a free address")]
    Listen { listen: String, setting: &'static str, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running API server.
pub struct Server {
    pub address: SocketAddr,
    streams: Arc<Streams>,
    draining: Draining,
    running: Running,
}

/// A running partials endpoint.
pub struct PartialsServer {
    pub address: SocketAddr,
    running: Running,
}

struct Running {
    handle: ServerHandle,
    stop: CancellationToken,
}

impl Server {
    /// Listens, then keeps versions fresh and answers until it is stopped. `log` tells where the log
    /// begins, and where it ends while no speed layer does; `sink` takes events.
    pub async fn start(
        settings: ServeSettings,
        project: Arc<Project>,
        store: Store,
        live: Arc<dyn LiveSource>,
        log: Option<Arc<dyn Log>>,
        sink: Option<Arc<dyn Sink>>,
    ) -> Result<Server, ServeError> {
        let streams = Arc::new(Streams::new(project.clone(), store, live, log));
        let serving = web::Data::new(Serving::new(streams.clone(), settings.wait_for_partitions));
        let names = project.streams.iter().map(|stream| stream.name.as_str());
        let requests = web::Data::new(Requests::of_a_server(names));
        let draining = Draining::default();
        let drained = web::Data::new(draining.clone());
        let stop = CancellationToken::new();
        let ingest = web::Data::new(Ingest::new(sink));
        let follow = web::Data::new(Follow::new(serving.clone().into_inner(), stop.clone()));
        let room = web::Data::new(slow::Room::new(serving.large.clone()));
        let gate = settings.gate;
        gate.check(&project);
        let callers = Callers { gate: gate.clone(), open_metrics: settings.open_metrics };
        let (callers, origins) = (web::Data::new(callers), settings.cors_origins);
        let sql = web::Data::new(Sql::new(serving.clone().into_inner(), settings.sql));
        let server = HttpServer::new(move || {
            let app = App::new().app_data(serving.clone()).app_data(ingest.clone()).app_data(follow.clone());
            let app = app.app_data(room.clone()).app_data(requests.clone()).app_data(drained.clone());
            app.app_data(callers.clone())
                .app_data(sql.clone())
                .wrap(Compress::default())
                .wrap(origins::allowed(&origins))
                .wrap(from_fn(around_server))
                .configure(routes::api)
        });
        let server = settings.workers.into_iter().fold(server, HttpServer::workers);
        let running_stop = stop.clone();
        let (address, running) = serve!(server, settings.listen, "serve.listen", settings.certificates, stop);
        tokio::spawn(async move { gate.watch(project, running_stop).await });
        tokio::spawn(streams.clone().run(running.stop.clone()));
        Ok(Server { address, streams, draining, running })
    }

    /// Looks for a newer version now: a batch run in this process has published one.
    pub fn refresh(&self) {
        self.streams.wake();
    }

    /// Why it is not ready, by stream; empty: it is, as `/readyz` says.
    pub fn waiting_for(&self) -> Vec<String> {
        status::waiting_for(&self.streams)
    }

    /// Is ready no more, and answers on for so long: whoever sends questions here is to see that and go elsewhere
    /// before the listener closes. Connections are not kept open for a next question.
    pub async fn drain(&self, time: Duration) {
        self.draining.0.cancel();
        tokio::time::sleep(time).await;
    }

    /// Stops listening, lets questions that are being answered finish, and returns.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

impl PartialsServer {
    pub async fn start(
        settings: impl Into<PartialsSettings>,
        live: Arc<dyn LiveSource>,
    ) -> Result<PartialsServer, ServeError> {
        let PartialsSettings { listen, secret, certificates, open_metrics } = settings.into();
        let live = web::Data::from(live);
        let requests = web::Data::new(Requests::of_a_node());
        let servers = web::Data::new(Servers { secret, open_metrics });
        let server = HttpServer::new(move || {
            let app = App::new().app_data(live.clone()).app_data(requests.clone()).app_data(servers.clone());
            app.wrap(from_fn(around_node)).configure(routes::node)
        });
        let stop = CancellationToken::new();
        let (address, running) = serve!(server, listen, "speed.listen", certificates, stop);
        Ok(PartialsServer { address, running })
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.handle.stop(true).await;
    }
}

/// Shows a new certificate when the files hold one.
async fn keep_current(certificates: Arc<Certificates>, stop: CancellationToken) {
    const LOOK: Duration = Duration::from_secs(1);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        match certificates.refresh() {
            Ok(true) => tracing::info!("certificate read again"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "certificate not read again, the one before stays"),
        }
    }
}

/// What is done around every request of a server.
async fn around_server(
    draining: web::Data<Draining>,
    requests: web::Data<Requests>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let began = Instant::now();
    let answer = async |request| {
        let mut response = metrics::measured(&requests, began, next.call(request)).await?;
        // A connection that is kept open would be cut when the server stops, with a next question on its way.
        if draining.is_on() {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(response)
    };
    naming::named(request, began, answer).await
}

/// What is done around every request of a speed node.
async fn around_node(
    requests: web::Data<Requests>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let began = Instant::now();
    naming::named(request, began, |request| metrics::measured(&requests, began, next.call(request))).await
}
