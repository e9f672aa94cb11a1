//! What the HTTP server did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::exchange::Entry;
use crate::exposition::{Kind, Page};
use crate::histogram::{HTTP, Histogram, Snapshot};

/// Most routes that are told apart: more than there are.
const ROUTES_MAX: usize = 256;
/// What all others are counted as.
const OTHER: &str = "other";

#[derive(Debug)]
pub(crate) struct ServerMetrics {
    routes: Mutex<BTreeMap<String, RouteMetrics>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) in_flight: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) cut_off: AtomicU64,
    pub(crate) records_lost: AtomicU64,
}

#[derive(Debug)]
struct RouteMetrics {
    /// By method and status.
    requests: BTreeMap<(&'static str, u16), u64>,
    seconds: Histogram,
    bytes_in: u64,
    bytes_out: u64,
}

/// A route at a moment.
struct RouteSnapshot {
    route: String,
    requests: Vec<(&'static str, u16, u64)>,
    seconds: Snapshot,
    bytes_in: u64,
    bytes_out: u64,
}

impl ServerMetrics {
    pub(crate) fn new() -> Self {
        Self {
            routes: Mutex::default(),
            refused: Mutex::default(),
            in_flight: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
            records_lost: AtomicU64::new(0),
        }
    }

    /// A request has ended.
    pub(crate) fn ended(&self, method: &'static str, entry: &Entry) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = routes.len() < ROUTES_MAX || routes.contains_key(entry.route.as_str());
        let route = if is_told { entry.route.as_str() } else { OTHER };
        if !routes.contains_key(route) {
            let seconds = Histogram::new(HTTP);
            let requests = BTreeMap::new();
            let new = RouteMetrics { requests, seconds, bytes_in: 0, bytes_out: 0 };
            routes.insert(route.to_owned(), new);
        }
        if let Some(metrics) = routes.get_mut(route) {
            *metrics.requests.entry((method, entry.status)).or_default() += 1;
            metrics.seconds.observe_time(entry.took);
            metrics.bytes_in += entry.bytes_in;
            metrics.bytes_out += entry.bytes_out;
        }
    }

    /// A request for an answer was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason).or_default() += 1;
    }

    /// Writes the families, and `gauges`: name, help and value of what others count.
    pub(super) fn write(&self, page: &mut Page, gauges: &[(&str, &str, u64)]) {
        let routes = self.routes();
        let name = "freehold_http_requests_total";
        page.family(name, Kind::Counter, "HTTP requests that were answered.");
        for RouteSnapshot { route, requests, .. } in &routes {
            for (method, status, count) in requests {
                let status = status.to_string();
                let labels = [("route", route.as_str()), ("method", *method), ("status", &status)];
                page.sample(name, &labels, count);
            }
        }
        let name = "freehold_http_request_seconds";
        page.family(name, Kind::Histogram, "From the head of a request to the end of its answer.");
        for RouteSnapshot { route, seconds, .. } in &routes {
            page.histogram(name, &[("route", route)], seconds);
        }
        type Bytes = (&'static str, &'static str, fn(&RouteSnapshot) -> u64);
        let bytes: [Bytes; 2] = [
            ("freehold_http_request_bytes_total", "Bytes of bodies that came.", |m| m.bytes_in),
            ("freehold_http_response_bytes_total", "Bytes of bodies that left.", |m| m.bytes_out),
        ];
        for (name, help, value) in bytes {
            page.family(name, Kind::Counter, help);
            for snapshot in &routes {
                page.sample(name, &[("route", &snapshot.route)], value(snapshot));
            }
        }
        self.write_refused(page);
        self.write_rest(page, gauges);
    }

    /// A copy, so that no request waits until the page is written.
    fn routes(&self) -> Vec<RouteSnapshot> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = |(route, metrics): (&String, &RouteMetrics)| RouteSnapshot {
            route: route.clone(),
            requests: metrics.requests.iter().map(|((m, s), count)| (*m, *s, *count)).collect(),
            seconds: metrics.seconds.read(),
            bytes_in: metrics.bytes_in,
            bytes_out: metrics.bytes_out,
        };
        routes.iter().map(snapshot).collect()
    }

    fn write_refused(&self, page: &mut Page) {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "freehold_requests_refused_total";
        page.family(name, Kind::Counter, "Requests for answers that were not accepted.");
        for (reason, count) in refused.iter() {
            page.sample(name, &[("reason", reason)], count);
        }
    }

    fn write_rest(&self, page: &mut Page, gauges: &[(&str, &str, u64)]) {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let mut one = |name: &str, kind, help: &str, value: u64| {
            page.family(name, kind, help);
            page.sample(name, &[], value);
        };
        let (gauge, counter) = (Kind::Gauge, Kind::Counter);
        let cells = [
            (
                "freehold_http_requests_in_flight",
                gauge,
                "HTTP requests under way.",
                &self.in_flight,
            ),
            ("freehold_http_connections", gauge, "Open connections.", &self.connections),
            (
                "freehold_http_connections_accepted_total",
                counter,
                "Connections that were accepted.",
                &self.connections_total,
            ),
            (
                "freehold_http_cut_off_total",
                counter,
                "Answers whose client went away, or that the end of the server cut off.",
                &self.cut_off,
            ),
            (
                "freehold_records_lost_total",
                counter,
                "Requests that were neither logged nor recorded, because too many waited.",
                &self.records_lost,
            ),
        ];
        for (name, kind, help, cell) in cells {
            one(name, kind, help, read(cell));
        }
        for &(name, help, value) in gauges {
            let kind = if name.ends_with("_total") { counter } else { gauge };
            one(name, kind, help, value);
        }
    }
}
