//! Log lines go to the host's callback, and nowhere else.

use std::cell::Cell;
use std::fmt;
use std::sync::Weak;

use serde_json::{Map, Value};
use tracing::dispatcher::with_default;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use crate::capi::callbacks::Callbacks;
use crate::capi::guard::reentry::HandleId;

thread_local! {
    /// Whether this thread is in a log callback, of whatever handle.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body`, whose log lines go to `log`, and nowhere in a log callback: there tracing is in the middle of a line, and
/// would panic if it were told of another place to log to.
pub(super) fn logging_to<R>(log: &Dispatch, body: impl FnOnce() -> R) -> R {
    if IN_CALLBACK.get() { body() } else { with_default(log, body) }
}

/// Forwards events; spans are not followed, as every event carries its own fields.
pub(super) struct LogCallback {
    pub(super) id: HandleId,
    /// Not kept alive from here: tracing holds every dispatcher for a moment when any handle in the process is made,
    /// on that handle's thread and with its lock held, and the host's data must not be freed there. Who logs is in a
    /// call, which keeps the callbacks.
    pub(super) callbacks: Weak<Callbacks>,
}

impl Subscriber for LogCallback {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Whatever a callback of this handle causes is not logged to it: a log callback would call itself.
        metadata.is_event() && !self.id.in_callback()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(callbacks) = self.callbacks.upgrade() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        IN_CALLBACK.set(true);
        callbacks.write_log(
            number(*metadata.level()),
            metadata.target(),
            &line.message,
            &Value::Object(line.fields).to_string(),
        );
        IN_CALLBACK.set(false);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The level as the header numbers it.
fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        match (field.name(), value.into()) {
            ("message", Value::String(message)) => self.message = message,
            ("message", other) => self.message = other.to_string(),
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
}
