//! One scrape's text, in either of the two formats that Prometheus reads.
//!
//! The encoder is prometheus-client's, which speaks OpenMetrics. The older text format differs in two things that
//! matter: a counter's `_total` belongs to its family's name there, and there is no end mark. A [`Page`] hides both, so
//! that whoever writes metrics gives the full name and does not care.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::number::HistogramSample;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4: what people and `promtool check metrics` read.
    Prometheus,
    /// OpenMetrics 1.0.0: what a Prometheus server asks for.
    OpenMetrics,
}

impl Format {
    /// The format for a client that sent this `accept`: OpenMetrics for whoever names it.
    pub fn negotiate(accept: &str) -> Format {
        let named = accept.split(',').filter_map(|range| range.split(';').next());
        if named
            .map(str::trim)
            .any(|media_type| media_type.eq_ignore_ascii_case("application/openmetrics-text"))
        {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    /// Its `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A count.
    Unsigned(u64),
    /// A level.
    Signed(i64),
    /// Seconds and the like.
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Unsigned(value)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Number::Signed(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Real(value)
    }
}

/// One scrape's text while it is written, family by family.
#[derive(Debug)]
pub struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    format: Format,
}

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>, format: Format) -> Self {
        Page { encoder, format }
    }

    /// Begins a family of counters. `name` ends in `_total`; every name may begin one family only.
    pub fn counter<'p>(&'p mut self, name: &'p str, help: &str) -> Result<Family<'p>, fmt::Error> {
        match self.format {
            // Samples of this format's counters have their family's name, as only gauges have in the encoder.
            Format::Prometheus => self.family(name, help, MetricType::Counter, Encoding::Gauge),
            Format::OpenMetrics => {
                let name = name.strip_suffix("_total").unwrap_or(name);
                self.family(name, help, MetricType::Counter, Encoding::Counter)
            }
        }
    }

    /// Begins a family of gauges.
    pub fn gauge<'p>(&'p mut self, name: &'p str, help: &str) -> Result<Family<'p>, fmt::Error> {
        self.family(name, help, MetricType::Gauge, Encoding::Gauge)
    }

    /// Begins a family of histograms.
    pub fn histogram<'p>(&'p mut self, name: &'p str, help: &str) -> Result<Family<'p>, fmt::Error> {
        self.family(name, help, MetricType::Histogram, Encoding::Gauge)
    }

    fn family<'p>(
        &'p mut self,
        name: &'p str,
        help: &str,
        metric_type: MetricType,
        encoding: Encoding,
    ) -> Result<Family<'p>, fmt::Error> {
        let encoder = self.encoder.encode_descriptor(name, help, None, metric_type)?;
        Ok(Family { encoder, encoding })
    }
}

/// A metric's name, its help text, and where in a `T` its value is.
pub(in crate::telemetry) type Described<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// Which of the encoder's two kinds of plain samples a family is made of.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Counter,
    Gauge,
}

/// A metric and its samples.
#[derive(Debug)]
pub struct Family<'p> {
    encoder: MetricEncoder<'p>,
    encoding: Encoding,
}

impl Family<'_> {
    /// Writes a sample. Label values are escaped here.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) -> fmt::Result {
        let (encoding, value) = (self.encoding, value.into());
        self.labelled(labels, |encoder| match (encoding, value) {
            (Encoding::Counter, Number::Unsigned(value)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            (Encoding::Counter, Number::Signed(value)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&(value as f64), None)
            }
            (Encoding::Counter, Number::Real(value)) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            (Encoding::Gauge, Number::Unsigned(value)) => encoder.encode_gauge(&value),
            (Encoding::Gauge, Number::Signed(value)) => encoder.encode_gauge(&value),
            (Encoding::Gauge, Number::Real(value)) => encoder.encode_gauge(&value),
        })
    }

    /// Writes a histogram: its buckets, its sum and its count.
    pub fn distribution(&mut self, labels: &[(&str, &str)], sample: &HistogramSample) -> fmt::Result {
        self.labelled(labels, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(sample.sum, sample.count, &sample.buckets, None)
        })
    }

    fn labelled(
        &mut self,
        labels: &[(&str, &str)],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if labels.is_empty() {
            return write(&mut self.encoder);
        }
        write(&mut self.encoder.encode_family(&Labels(labels))?)
    }
}

/// Labels as the encoder takes them: of a size that it knows.
struct Labels<'l>(&'l [(&'l str, &'l str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}
