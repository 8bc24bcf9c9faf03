//! `/metrics`, `/healthz` and `/readyz` over HTTP, for Prometheus and for whoever restarts containers.
//!
//! * `/healthz`: 200 while the process can answer at all. Red means: restart it.
//! * `/readyz`: 200 when mail is taken; 503 with a reason a line while it starts, stops, or has trouble with its store.
//!   Red means: send no traffic, wait.
//! * `/metrics`: the Prometheus text format 0.0.4.
//!
//! Plain HTTP without a password, meant for the loopback address or a private network. GET and HEAD only; a client
//! has [`REQUEST_SECONDS_MAX`] for each request. Never shows an address, a name or a message.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;

/// A request is answered within this time, or not at all.
pub const REQUEST_SECONDS_MAX: u64 = 10;

/// What the endpoints need of the running server.
pub trait Health: Send + Sync {
    /// Why mail cannot be taken at the moment, a sentence each; empty when it can.
    fn not_ready(&self) -> Vec<String>;

    /// The metrics, with everything that is only looked up on demand (queue, DNS) brought up to date.
    fn metrics(&self) -> &Metrics;
}

/// Serves until the future is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: tokio::net::TcpListener, health: Arc<dyn Health>) -> std::io::Result<()> {
    axum::serve(listener, router(health)).await
}

fn router(health: Arc<dyn Health>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .layer(middleware::from_fn(in_time))
        .with_state(health)
}

async fn in_time(request: Request, next: Next) -> Response {
    let limit = Duration::from_secs(REQUEST_SECONDS_MAX);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn metrics(State(health): State<Arc<dyn Health>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, health.metrics().render()).into_response()
}

async fn readyz(State(health): State<Arc<dyn Health>>) -> Response {
    let reasons = health.not_ready();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Server {
        metrics: Metrics,
        reasons: Mutex<Vec<String>>,
    }

    impl Health for Server {
        fn not_ready(&self) -> Vec<String> {
            self.reasons.lock().unwrap().clone()
        }
        fn metrics(&self) -> &Metrics {
            &self.metrics
        }
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn endpoints_say_how_the_server_is() {
        let server = Arc::new(Server { metrics: Metrics::new().unwrap(), reasons: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::<Server>::clone(&server)));

        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 OK"));
        assert!(ask(address, "GET /readyz").await.ends_with("\r\n\r\nok\n"));
        let metrics = ask(address, "GET /metrics").await;
        assert!(
            metrics.contains("text/plain; version=0.0.4")
                && metrics.contains("\nstaffetta_queue_overdue 0\n")
        );

        server.reasons.lock().unwrap().push("the store failed: x".into());
        let red = ask(address, "GET /readyz").await;
        assert!(red.starts_with("HTTP/1.1 503") && red.ends_with("\r\n\r\nthe store failed: x\n"), "{red}");
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200"));

        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        assert!(ask(address, "GET /secret").await.starts_with("HTTP/1.1 404"));
    }
}
