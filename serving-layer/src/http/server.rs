//! Starting and stopping servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{App, HttpServer, Resource, Route, web};
use tokio_util::sync::CancellationToken;
use watershed_schemas::live::LiveSource;
use watershed_schemas::log::Log;
use watershed_schemas::project::Project;
use watershed_schemas::sink::Sink;
use watershed_store::Store;

use super::metrics::{self, Requests};
use super::problem::{method_not_allowed, unknown_route};
use super::{dashboard, diff, events, live, partials, query, slow, sql, status, views};
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
    ($server:expr, $listen:expr, $setting:literal, $stop:expr) => {{
        let listen: String = $listen;
        let server = $server
            .client_request_timeout(CLIENT_TIMEOUT)
            .on_connect(slow::on_connect)
            .shutdown_timeout(STOP_TIMEOUT_SECONDS)
            .disable_signals()
            .bind(&listen)
            .map_err(|source| ServeError::Listen { listen: listen.clone(), setting: $setting, source })?;
        let address = server.addrs()[0];
        let server = server.run();
        let running = Running { handle: server.handle(), stop: $stop };
        tokio::spawn(server);
        (address, running)
    }};
}

/// Settings of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// `serve.listen`: `host:port`; port 0 picks one.
    pub listen: String,
    /// Threads that serve connections; `None`: one per core.
    pub workers: Option<usize>,
    /// `serve.wait_for_partitions`: how long a question waits for partitions that one speed node hands over to another.
    pub wait_for_partitions: Duration,
    /// `[sql]`; `None`: there is no SQL.
    pub sql: Option<SqlSettings>,
}

impl ServeSettings {
    pub fn new(listen: impl Into<String>) -> Self {
        ServeSettings {
            listen: listen.into(),
            workers: None,
            wait_for_partitions: Duration::from_secs(1),
            sql: None,
        }
    }
}

/// A server that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {listen}: {source}; set {setting} to a free address")]
    Listen { listen: String, setting: &'static str, source: std::io::Error },
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
        let room = web::Data::new(slow::Room::default());
        let sql = web::Data::new(Sql::new(serving.clone().into_inner(), settings.sql));
        let server = HttpServer::new(move || {
            let app = App::new().app_data(serving.clone()).app_data(ingest.clone()).app_data(follow.clone());
            let app = app.app_data(room.clone()).app_data(requests.clone()).app_data(drained.clone());
            let app = app.app_data(sql.clone());
            app.wrap(Compress::default())
                .wrap(from_fn(let_go_when_draining))
                .wrap(from_fn(metrics::measure))
                .configure(api)
        });
        let server = settings.workers.into_iter().fold(server, HttpServer::workers);
        let (address, running) = serve!(server, settings.listen, "serve.listen", stop);
        tokio::spawn(streams.clone().run(running.stop.clone()));
        Ok(Server { address, streams, draining, running })
    }

    /// Looks for a newer version now: a batch run in this process has published one.
    pub fn refresh(&self) {
        self.streams.wake();
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
    /// `listen` is the setting `speed.listen`.
    pub async fn start(listen: &str, live: Arc<dyn LiveSource>) -> Result<PartialsServer, ServeError> {
        let live = web::Data::from(live);
        let requests = web::Data::new(Requests::of_a_node());
        let server = HttpServer::new(move || {
            let app = App::new().app_data(live.clone()).app_data(requests.clone());
            app.wrap(from_fn(metrics::measure)).configure(partials_api)
        });
        let (address, running) = serve!(server, listen.to_string(), "speed.listen", CancellationToken::new());
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

/// A connection that is kept open would be cut when the server stops, with a next question on its way.
async fn let_go_when_draining(
    draining: web::Data<Draining>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut response = next.call(request).await?;
    if draining.is_on() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// A resource that is only read.
fn get(path: &str, handler: Route) -> Resource {
    web::resource(path).route(handler).default_service(web::to(async || method_not_allowed("GET")))
}

fn api(config: &mut web::ServiceConfig) {
    let post = web::resource("/v1/query").route(web::post().to(query::post));
    let sql = web::resource("/v1/sql").route(web::post().to(sql::post));
    let events = web::resource("/v1/streams/{stream}/events").route(web::post().to(events::post));
    config
        .service(post.default_service(web::to(async || method_not_allowed("POST"))))
        .service(sql.default_service(web::to(async || method_not_allowed("POST"))))
        .service(events.default_service(web::to(async || method_not_allowed("POST"))))
        .service(get("/v1/views", web::get().to(views::list)))
        .service(get("/v1/views/{view}", web::get().to(views::one)))
        .service(get("/v1/views/{view}/query", web::get().to(query::get)))
        .service(get("/v1/views/{view}/live", web::get().to(self::live::live)))
        .service(get("/v1/views/{view}/accuracy", web::get().to(views::accuracy)))
        .service(get("/v1/status", web::get().to(status::status)))
        .service(get("/v1/streams/{stream}/versions", web::get().to(status::versions)))
        .service(get("/v1/streams/{stream}/versions/{a}/diff/{b}", web::get().to(diff::diff)))
        .service(get("/", web::get().to(dashboard::page)))
        .service(get("/assets/{name}", web::get().to(dashboard::asset)))
        .service(get("/healthz", web::get().to(status::healthz)))
        .service(get("/readyz", web::get().to(status::readyz)))
        .service(get("/metrics", web::get().to(metrics::server)))
        .default_service(web::to(unknown_route));
}

fn partials_api(config: &mut web::ServiceConfig) {
    let post = web::resource("/v1/partials").route(web::post().to(partials::partials));
    let together = web::resource("/v1/partials/together").route(web::post().to(partials::together));
    config
        .service(post.default_service(web::to(async || method_not_allowed("POST"))))
        .service(together.default_service(web::to(async || method_not_allowed("POST"))))
        .service(get("/v1/partials/status/{stream}", web::get().to(partials::status)))
        .service(get("/healthz", web::get().to(status::healthz)))
        .service(get("/metrics", web::get().to(metrics::node)))
        .default_service(web::to(unknown_route));
}
