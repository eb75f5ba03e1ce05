//! What a plugin's end means, in the words of libcni's `RawExec` and Go's `os/exec` below it.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::error::{Cause, Error, ErrorClass, Result};
use crate::invoke::quote::quote;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Exited(i32),
    Signalled { signal: i32, core_dumped: bool },
}

impl Status {
    /// From `si_code` and `si_status`.
    pub(super) fn of((code, status): (i32, i32)) -> Self {
        match code {
            libc::CLD_KILLED => Self::Signalled { signal: status, core_dumped: false },
            libc::CLD_DUMPED => Self::Signalled { signal: status, core_dumped: true },
            _ => Self::Exited(status),
        }
    }

    /// From what `wait` gives.
    pub(super) fn of_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signalled { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

impl fmt::Display for Status {
    /// Go's `os.ProcessState.String`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signalled { signal, core_dumped } => {
                match signal_name(signal) {
                    Some(name) => write!(f, "signal: {name}")?,
                    None => write!(f, "signal: signal {signal}")?,
                }
                f.write_str(if core_dumped { " (core dumped)" } else { "" })
            }
        }
    }
}

/// Go's `syscall.Signal.String`.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        _ => return None,
    })
}

/// Standard output of a plugin that succeeded, or libcni's error.
pub(super) fn answer(status: Status, stdout: Vec<u8>, stderr: &[u8]) -> Result<Vec<u8>> {
    if status == Status::Exited(0) { Ok(stdout) } else { Err(plugin_error(&status, &stdout, stderr)) }
}

/// The error for a file that the system did not execute, as libcni words it.
pub(super) fn not_executed(path: &Path, errno: i32) -> Error {
    let error = std::io::Error::from_raw_os_error(errno);
    let words = format!("fork/exec {}: {}", path.display(), crate::error::os_words(&error));
    let hint = match errno {
        libc::ENOENT | libc::ENOTDIR => "the file, or the interpreter in its first line, is not there",
        libc::EACCES => "the file must be executable for this user, and not on a file system mounted noexec",
        libc::EPERM => "a security policy forbids executing the file",
        libc::ENOEXEC => "the file is not a program for this machine: wrong architecture, cut short, or no \"#!\" line",
        libc::ETXTBSY => "somebody is still writing the file",
        libc::E2BIG => "the environment is too long: shorten the arguments, or give the plugins an exact environment",
        _ => "the system refused to execute the file",
    };
    plugin_error(&words, &[], &[]).with_hint(hint)
}

/// libcni's `pluginErr`. `end` is what Go's error says: an exit status, or why there was none.
fn plugin_error(end: &dyn fmt::Display, stdout: &[u8], stderr: &[u8]) -> Error {
    /// Of what a plugin printed, in a message.
    const SHOWN: usize = 16 << 10;
    let cause = if !stdout.is_empty() {
        error_object(stdout).unwrap_or_else(|error| {
            let (shown, cut) = stdout.split_at_checked(SHOWN).map_or((stdout, ""), |(shown, _)| (shown, "…"));
            plain(format!("netplugin failed but error parsing its diagnostic message {}{cut}: {error}", quote(shown)))
        })
    } else if stderr.is_empty() {
        plain(format!("netplugin failed with no error message: {end}"))
    } else {
        let shown = stderr.get(stderr.len().saturating_sub(SHOWN)..).unwrap_or(stderr);
        let cut = if shown.len() < stderr.len() { "…" } else { "" };
        plain(format!("netplugin failed: {cut}{}: {end}", quote(shown)))
    };
    Error::from_cause(cause)
}

fn plain(msg: String) -> Cause {
    Cause { msg, ..Cause::default() }
}

/// Reads `types.Error` as leniently as Go's decoder does: absent and null are zero, keys in any case, others ignored.
fn error_object(text: &[u8]) -> std::result::Result<Cause, String> {
    let object = match serde_json::from_slice(text).map_err(|error| error.to_string())? {
        Value::Object(object) => object,
        Value::Null => return Ok(Cause::default()),
        other => return Err(mismatch(&other, "value", "types.Error")),
    };
    let mut cause = Cause::default();
    for (key, value) in object {
        if value.is_null() {
            continue;
        }
        let text = |field| match &value {
            Value::String(text) => Ok(text.clone()),
            other => Err(mismatch(other, field, "string")),
        };
        match key.to_ascii_lowercase().as_str() {
            "code" => cause.code = value.as_u64().ok_or_else(|| mismatch(&value, "struct field Error.code", "uint"))?,
            "msg" => cause.msg = text("struct field Error.msg")?,
            "details" => cause.details = text("struct field Error.details")?,
            _ => {}
        }
    }
    Ok(cause)
}

/// Go's `json.UnmarshalTypeError`.
fn mismatch(value: &Value, place: &str, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if place != "value" => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    let kind = if wanted == "uint" || place == "value" { wanted } else { "string" };
    let into = if place == "value" { format!("Go value of type {kind}") } else { format!("Go {place} of type {kind}") };
    format!("json: cannot unmarshal {found} into {into}")
}

/// The error for a plugin whose status nobody knows: never a success.
pub(super) fn lost(path: &Path) -> Error {
    Error::new(ErrorClass::Io, format!("netplugin {}: exit status lost", path.display())).with_hint(
        "another part of this process waits for children that are not its own, or the plugin's nanny was killed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_gos_words() {
        let killed = |signal| Status::Signalled { signal, core_dumped: false };
        for (status, words) in [
            (Status::of((libc::CLD_EXITED, 7)), "exit status 7"),
            (Status::of((libc::CLD_KILLED, 9)), "signal: killed"),
            (Status::of((libc::CLD_DUMPED, 11)), "signal: segmentation fault (core dumped)"),
            (Status::of_wait(7 << 8), "exit status 7"),
            (Status::of_wait(15), "signal: terminated"),
            (Status::of_wait(0x86), "signal: aborted (core dumped)"),
            (killed(libc::SIGHUP), "signal: hangup"),
            (killed(40), "signal: signal 40"),
        ] {
            assert_eq!(status.to_string(), words);
        }
    }

    #[test]
    fn failures_are_reported_as_libcni_does() {
        let failed = "netplugin failed but error parsing its diagnostic message";
        for (stdout, stderr, code, msg) in [
            ("", "", 0, "netplugin failed with no error message: exit status 1".to_owned()),
            ("", "a \"b\"\n", 0, r#"netplugin failed: "a \"b\"\n": exit status 1"#.to_owned()),
            (r#"{"code":7,"msg":"m","details":"d","cniVersion":"1"}"#, "ignored", 7, "m; d".to_owned()),
            (r#"{"CODE":11,"Msg":"m","details":null}"#, "", 11, "m".to_owned()),
            ("{}", "ignored", 0, String::new()),
            ("null", "", 0, String::new()),
            ("{", "", 0, format!("{failed} \"{{\": EOF while parsing an object at line 1 column 1")),
            ("[]", "", 0, format!("{failed} \"[]\": json: cannot unmarshal array into Go value of type types.Error")),
            (
                r#"{"code":"7"}"#,
                "",
                0,
                format!(
                    "{failed} {}: json: cannot unmarshal string into Go struct field Error.code of type uint",
                    r#""{\"code\":\"7\"}""#
                ),
            ),
            (
                r#"{"code":-7}"#,
                "",
                0,
                format!(
                    "{failed} {}: json: cannot unmarshal number -7 into Go struct field Error.code of type uint",
                    r#""{\"code\":-7}""#
                ),
            ),
            (
                r#"{"msg":[]}"#,
                "",
                0,
                format!(
                    "{failed} {}: json: cannot unmarshal array into Go struct field Error.msg of type string",
                    r#""{\"msg\":[]}""#
                ),
            ),
        ] {
            let error = answer(Status::Exited(1), stdout.into(), stderr.as_bytes()).unwrap_err();
            assert_eq!((error.to_string(), error.code()), (msg, code), "{stdout}");
            assert!(error.cause().is_some());
        }
    }

    #[test]
    fn what_a_plugin_printed_is_cut_in_a_message() {
        for (stdout, stderr) in [(vec![b'x'; 1 << 20], vec![]), (vec![], vec![b'x'; 1 << 20])] {
            let words = answer(Status::Exited(1), stdout, &stderr).unwrap_err().to_string();
            assert!(words.len() < 17 << 10 && words.contains('…'), "{}", words.len());
        }
    }

    #[test]
    fn the_code_decides_the_class() {
        for (stdout, class) in [(r#"{"code":11}"#, ErrorClass::Retry), (r#"{"code":50}"#, ErrorClass::NotReady)] {
            assert_eq!(answer(Status::Exited(1), stdout.into(), &[]).unwrap_err().class(), class);
        }
    }
}
