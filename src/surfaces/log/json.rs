//! Events as JSON: one object per line, with the fields of the spans around it, flat.

use std::fmt::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::lines::{LineSender, Lines};
use super::timestamp::now;
use crate::contract::plain_json;

/// The target of the lines about endings, for filters.
pub const ENDING_TARGET: &str = "lastword::ending";

/// Writes `timestamp`, `level`, `target`, `message`, then the fields of the spans from the
/// outermost, then those of the event; of fields with one name the innermost wins.
///
/// A field of endings (see [`ENDING_TARGET`]) that is called `ending` holds JSON already and
/// is put in as it is.
pub(super) struct JsonLayer {
    lines: LineSender,
    /// Whether a line says where in the source it was logged.
    place: bool,
}

impl JsonLayer {
    pub(super) fn new(lines: &Lines) -> Self {
        Self { lines: lines.sender(), place: false }
    }

    /// Adds `code.file` and `code.line`, as the journal has them.
    pub(super) fn with_place(self) -> Self {
        Self { place: true, ..self }
    }
}

impl<S> Layer<S> for JsonLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        // Rendered before the span is locked: rendering runs code of others, which may panic, and
        // the panic's own event reads the span.
        let mut later = Fields::default();
        record.record(&mut later);
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            for (name, value) in later.values {
                fields.put(name, value);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields =
            Fields { raw_ending: metadata.target() == ENDING_TARGET, ..Fields::default() };
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.values {
                    fields.put(name, value.clone());
                }
            }
        }
        event.record(&mut fields);

        let mut line = String::with_capacity(256);
        line.push_str("{\"timestamp\":\"");
        // Writing into a String cannot fail.
        let _ = write!(line, "{}", now());
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push_str("\",\"target\":");
        line.push_str(&json(metadata.target()));
        if let (true, Some(file), Some(number)) = (self.place, metadata.file(), metadata.line()) {
            let _ = write!(line, ",\"code.file\":{},\"code.line\":{number}", json(file));
        }
        if let Some(message) = fields.take("message") {
            line.push_str(",\"message\":");
            line.push_str(&message);
        }
        for (name, value) in &fields.values {
            line.push(',');
            // What this file writes itself must not be there twice.
            line.push_str(&match *name {
                "timestamp" | "level" | "target" => json(&format!("field.{name}")),
                name => json(name),
            });
            line.push(':');
            line.push_str(value);
        }
        line.push_str("}\n");
        self.lines.send(line.as_bytes());
    }
}

/// Fields in the order in which they came, each value rendered as JSON.
#[derive(Default)]
struct Fields {
    values: Vec<(&'static str, String)>,
    raw_ending: bool,
}

impl Fields {
    fn put(&mut self, name: &'static str, value: String) {
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.values.push((name, value)),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.values.iter().position(|(known, _)| *known == name)?;
        Some(self.values.remove(at).1)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), json(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let raw = self.raw_ending && field.name() == "ending" && is_one_line_of_json(value);
        self.put(field.name(), if raw { value.to_owned() } else { json(value) });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Writing into a String cannot fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.put(field.name(), json(&text));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), json(&value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.to_string());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field.name(), value.to_string());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field.name(), value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.to_string());
    }
}

fn is_one_line_of_json(text: &str) -> bool {
    !text.contains('\n') && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    // Texts and numbers are always written; null would be valid JSON still.
    plain_json::write(value).unwrap_or_else(|_| "null".to_owned())
}
