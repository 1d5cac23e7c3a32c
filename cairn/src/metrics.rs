//! The figures of `/metrics`, in OpenMetrics text, and the reasons of `/health/ready`.
//!
//! Collected at each scrape from counters that are kept anyway. No label holds a name of a scope, an object or a key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use net::cluster::{DriveState, DriveStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::admin::Observed;
use crate::runtime::Runtime;
use crate::serve::S3Front;

/// A running process, as monitoring sees it.
#[derive(Clone, Debug)]
pub struct Figures {
    runtime: Arc<Runtime>,
    front: S3Front,
}

impl Figures {
    /// The figures of this process.
    pub const fn new(runtime: Arc<Runtime>, front: S3Front) -> Self {
        Self { runtime, front }
    }
}

impl Observed for Figures {
    fn unready(&self) -> Option<String> {
        let ledger = &self.runtime.ledger;
        let failed = ledger.status().fenced.then_some("a flush of the ledger failed");
        failed.or_else(|| ledger.why_away()).map(str::to_owned)
    }

    fn read_only(&self) -> Option<String> {
        self.runtime
            .cluster
            .writable()
            .err()
            .map(|error| error.to_string())
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("cairn");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(fmt::Error) => "# EOF\n".to_owned(),
        }
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut page = Page(encoder);
        self.traffic(&mut page)?;
        self.drives(&mut page)?;
        self.logs(&mut page)
    }
}

impl Figures {
    fn traffic(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let traffic = self.front.traffic();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (all, client, server) = (
            read(&traffic.requests),
            read(&traffic.client_errors),
            read(&traffic.server_errors),
        );
        page.counters(
            "s3_requests",
            "Requests answered, by the class of the answer",
            "status",
            &[
                ("ok", all.saturating_sub(client).saturating_sub(server)),
                ("client_error", client),
                ("server_error", server),
            ],
        )?;
        page.by_operation(
            "s3_operations",
            "Requests answered, by operation and class of the status",
            traffic.by_operation(),
        )?;
        page.counter(
            "s3_refused",
            "Requests that were not admitted",
            read(&traffic.refused),
        )?;
        page.counters(
            "s3_bytes",
            "Bytes of bodies, as declared",
            "direction",
            &[("in", read(&traffic.in_bytes)), ("out", read(&traffic.out_bytes))],
        )?;
        let memory: u64 = self
            .runtime
            .sessions
            .all()
            .iter()
            .map(|session| session.upload_memory_bytes())
            .sum();
        page.gauge("upload_memory_bytes", "Memory that uploads hold", memory)
    }

    fn drives(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let status = self.runtime.cluster.status();
        let count = |state| status.drives.iter().filter(|drive| drive.state == state).count() as u64;
        page.gauges(
            "drives",
            "Drives of the layout, by state",
            "state",
            &[
                ("present".to_owned(), count(DriveState::Present)),
                ("full".to_owned(), count(DriveState::Full)),
                ("lost".to_owned(), count(DriveState::Lost)),
            ],
        )?;
        let each = |figure: fn(&DriveStatus) -> u64| -> Vec<(String, u64)> {
            status
                .drives
                .iter()
                .map(|drive| (drive.number.to_string(), figure(drive)))
                .collect()
        };
        let by_drive = [
            (
                "drive_live_bytes",
                "Bytes of live shards",
                each(|drive| drive.live_bytes),
            ),
            (
                "drive_garbage_bytes",
                "Bytes that collection could give back",
                each(|drive| drive.garbage_bytes),
            ),
            (
                "drive_allocated_bytes",
                "Bytes that the drive's files take",
                each(|drive| drive.allocated_bytes),
            ),
            (
                "drive_free_bytes",
                "Bytes free on the drive's file system",
                each(|drive| drive.free_bytes),
            ),
            ("drive_shards", "Shards on the drive", each(|drive| drive.shards)),
        ];
        for (name, help, values) in by_drive {
            page.gauges(name, help, "drive", &values)?;
        }
        page.gauge(
            "packs_at_risk",
            "Packs known to lack shards",
            status.packs_at_risk,
        )?;
        page.gauge(
            "packs_unreadable",
            "Packs known to lack more shards than their parity",
            status.packs_unreadable,
        )?;
        page.counter("drive_flushes", "Flushes of drives", status.flushes)?;
        page.counter("packs_put", "Packs acknowledged", status.packs_put)?;
        page.counter("shards_put", "Shards made durable", status.shards_put)?;
        page.counter("lane_reads", "Reads of shard ranges", status.reads)?;
        page.counter(
            "lane_hedges",
            "Reads asked of other drives because one was slow",
            status.hedges,
        )?;
        page.counter(
            "lane_reconstructed",
            "Ranges computed from other shards",
            status.reconstructed,
        )?;
        page.counter("shards_rebuilt", "Shards made again", status.rebuilt)
    }

    fn logs(&self, page: &mut Page<'_>) -> Result<(), fmt::Error> {
        let ledger = self.runtime.ledger.status();
        page.gauge("ledger_sequence", "The newest durable sequence", ledger.position)?;
        page.gauge("ledger_entries", "Live entries", ledger.entries)?;
        page.gauge("ledger_log_bytes", "Bytes of the ledger's log", ledger.log_bytes)?;
        page.counter("ledger_appends", "Appends answered", ledger.appends)?;
        page.counter("ledger_flushes", "Flushes of the ledger", ledger.flushes)?;
        page.gauge(
            "activity_entries",
            "Entries of the activity log",
            self.runtime.recorder.reader().len(),
        )
    }
}

/// The page under construction.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(signed(value)).encode(metric)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> Result<(), fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            ConstCounter::new(*count).encode(metric.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }

    fn by_operation<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (&'a str, &'a str, u64)>,
    ) -> Result<(), fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (operation, class, count) in values {
            let labels = [("operation", operation), ("status", class)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(String, u64)],
    ) -> Result<(), fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, amount) in values {
            ConstGauge::new(signed(*amount)).encode(metric.encode_family(&[(label, value.as_str())])?)?;
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
