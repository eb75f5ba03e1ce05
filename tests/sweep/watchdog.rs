//! Ends this process, and with it the namespaces that it is the first of, where one point of a sweep takes far too long;
//! and says which one it was.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// The library's own limit in a sweep is 30 s.
const PATIENCE: Duration = Duration::from_secs(50);

pub(crate) struct Watchdog(Sender<String>);

impl Watchdog {
    pub(crate) fn start() -> Self {
        let (sender, receiver) = channel::<String>();
        std::thread::spawn(move || {
            let mut point = String::from("the beginning");
            loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(next) => point = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("hangs: {point}");
                        std::process::exit(1);
                    }
                }
            }
        });
        Self(sender)
    }

    pub(crate) fn enter(&self, point: String) {
        let _ = self.0.send(point);
    }
}
