//! A plugin's standard error: line by line to the log, and the last part of it kept for an error message.

use std::path::Path;

/// What is kept, at most.
const KEPT: usize = 64 << 10;
/// A longer line is logged in pieces.
const LONGEST_LINE: usize = 8 << 10;

/// Takes what a plugin writes to standard error.
pub(super) struct Stderr<'a> {
    plugin: &'a Path,
    kept: usize,
    tail: Vec<u8>,
    line: Vec<u8>,
}

impl<'a> Stderr<'a> {
    /// For this plugin, keeping `most` bytes at most, and never more than 64 KiB.
    pub(super) fn new(plugin: &'a Path, most: usize) -> Self {
        Self { plugin, kept: most.min(KEPT), tail: Vec::new(), line: Vec::new() }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.tail.extend_from_slice(chunk);
        if self.tail.len() > 2 * KEPT {
            self.cut();
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            for piece in piece.chunks(LONGEST_LINE) {
                self.line.extend_from_slice(piece);
                if piece.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                    self.log_line();
                }
            }
        }
    }

    /// Logs an unfinished line; answers the last part of all.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.log_line();
        self.cut();
        self.tail
    }

    fn cut(&mut self) {
        let excess = self.tail.len().saturating_sub(self.kept);
        self.tail.drain(..excess);
    }

    fn log_line(&mut self) {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            let (plugin, line) = (self.plugin.display(), String::from_utf8_lossy(line));
            tracing::info!(target: "cnirt::plugin", %plugin, "{line}");
        }
        self.line.clear();
    }
}
