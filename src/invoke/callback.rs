//! An [`Exec`] that asks the host first: plugins in a container image, on another machine, in a test.
//!
//! The callbacks speak JSON, as the C ABI does; what they do not take goes the built-in way.

use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::find::not_found;
use super::process::{Nursery, ProcessExec};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::invoke::Exec;
use crate::thread::HostSignals;

/// How the host finds and runs plugins itself. `None` is "not given": the built-in way.
pub trait PluginCallbacks: Send + Sync {
    /// `{callId?, type, dirs}` → the plugin's path.
    fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>>;

    /// `{callId?, path, env: ["K=V", …], stdin, timeoutMs?}` → the plugin's standard output. `timeoutMs` is what is left
    /// of the call's time, absent where there is no limit.
    fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>>;

    /// False where there is no `find_plugin`, so that no question is made for it.
    fn finds_plugins(&self) -> bool {
        true
    }

    /// False where there is no `exec_plugin`.
    fn runs_plugins(&self) -> bool {
        true
    }
}

/// Asks the callbacks, then the process engine.
#[derive(Clone)]
pub struct CallbackExec {
    /// The host's way.
    pub callbacks: Arc<dyn PluginCallbacks>,
    /// The built-in way.
    pub native: ProcessExec,
}

impl fmt::Debug for CallbackExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackExec").field("native", &self.native).finish_non_exhaustive()
    }
}

impl Exec for CallbackExec {
    fn find_in_path(&self, call: &Call, plugin_type: &str, dirs: &[PathBuf]) -> Result<PathBuf> {
        if !self.callbacks.finds_plugins() {
            return self.native.find_in_path(call, plugin_type, dirs);
        }
        let mut question = question(call);
        question.insert("type".into(), plugin_type.into());
        question.insert("dirs".into(), dirs.iter().map(|dir| dir.to_string_lossy()).collect());
        let asked = {
            let _signals = HostSignals::restored();
            self.callbacks.find_plugin(&Value::Object(question).to_string())
        };
        let Some(answer) = asked else {
            return self.native.find_in_path(call, plugin_type, dirs);
        };
        // The path is shown to the host again, in JSON: it must be text.
        match String::from_utf8(answer?) {
            Ok(path) if !path.is_empty() && !path.contains('\0') => Ok(path.into()),
            _ => {
                let error = not_found(plugin_type, dirs);
                Err(error.with_hint("the callback find_plugin answered with something that is not a path"))
            }
        }
    }

    fn exec_plugin(
        &self,
        call: &Call,
        nursery: &mut Nursery,
        path: &Path,
        stdin: &[u8],
        env: &[CString],
    ) -> Result<Vec<u8>> {
        if !self.callbacks.runs_plugins() {
            return self.native.exec_plugin(call, nursery, path, stdin, env);
        }
        call.check().map_err(Error::with_never_ran)?;
        let text = std::str::from_utf8(stdin).map_err(|error| {
            Error::invalid(format!("standard input of {}: {error}", path.display())).with_never_ran()
        })?;
        let mut question = question(call);
        question.insert("path".into(), path.to_string_lossy().into());
        question.insert("env".into(), env.iter().map(|line| line.to_string_lossy()).collect());
        question.insert("stdin".into(), text.into());
        if let Some(left) = call.remaining() {
            // Up, since 0 would read as "no limit".
            let left = u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            question.insert("timeoutMs".into(), left.max(1).into());
        }
        let answer = {
            let _signals = HostSignals::restored();
            self.callbacks.exec_plugin(&Value::Object(question).to_string())
        };
        answer.unwrap_or_else(|| self.native.exec_plugin(call, nursery, path, stdin, env))
    }
}

fn question(call: &Call) -> Map<String, Value> {
    call.id.iter().map(|id| ("callId".to_owned(), id.as_str().into())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::error::ErrorClass;

    #[derive(Default)]
    struct Host {
        path: Option<Result<Vec<u8>>>,
        output: Option<Result<Vec<u8>>>,
        asked: Mutex<Vec<Value>>,
    }

    impl PluginCallbacks for Host {
        fn find_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
            self.asked.lock().unwrap().push(serde_json::from_str(call).unwrap());
            self.path.clone()
        }

        fn exec_plugin(&self, call: &str) -> Option<Result<Vec<u8>>> {
            self.asked.lock().unwrap().push(serde_json::from_str(call).unwrap());
            self.output.clone()
        }
    }

    fn exec(host: Host) -> (Arc<Host>, CallbackExec) {
        let host = Arc::new(host);
        (Arc::clone(&host), CallbackExec { callbacks: host, native: ProcessExec::default() })
    }

    #[test]
    fn the_host_is_asked_in_the_abis_keys() {
        let (host, exec) = exec(Host { path: Some(Ok("/p".into())), output: Some(Ok("{}".into())), ..Host::default() });
        let call = Call { id: Some("c1".into()), ..Call::default() };
        assert_eq!(exec.find_in_path(&call, "bridge", &["/a".into(), "/b".into()]).unwrap(), Path::new("/p"));
        let env = [c"A=B".to_owned(), CString::new(b"C=\xff".to_vec()).unwrap()];
        assert_eq!(
            exec.exec_plugin(&call, &mut Nursery::default(), Path::new("/p"), b"{\"x\":1}", &env).unwrap(),
            b"{}"
        );
        let limited = Call::with_timeout(Some(Duration::from_secs(60)));
        exec.exec_plugin(&limited, &mut Nursery::default(), Path::new("/p"), b"", &[]).unwrap();
        let mut asked = host.asked.lock().unwrap();
        let left = asked[2]["timeoutMs"].take().as_u64().unwrap();
        assert!((50_000..=60_000).contains(&left), "{left}");
        assert_eq!(
            *asked,
            [
                json!({"callId": "c1", "type": "bridge", "dirs": ["/a", "/b"]}),
                json!({"callId": "c1", "path": "/p", "env": ["A=B", "C=\u{fffd}"], "stdin": "{\"x\":1}"}),
                json!({"path": "/p", "env": [], "stdin": "", "timeoutMs": null}),
            ]
        );
    }

    #[test]
    fn what_is_not_given_goes_the_built_in_way() {
        let (_, exec) = exec(Host::default());
        let path = exec.find_in_path(&Call::default(), "true", &["/bin".into()]).unwrap();
        assert_eq!(exec.exec_plugin(&Call::default(), &mut Nursery::default(), &path, b"", &[]).unwrap(), b"");
    }

    #[test]
    fn the_hosts_errors_are_passed_on() {
        let refusal = Some(Err(Error::new(ErrorClass::Retry, "busy")));
        let (_, exec) = exec(Host { path: refusal.clone(), output: refusal, ..Host::default() });
        assert_eq!(exec.find_in_path(&Call::default(), "x", &[]).unwrap_err().class(), ErrorClass::Retry);
        let error = exec.exec_plugin(&Call::default(), &mut Nursery::default(), Path::new("/p"), b"", &[]).unwrap_err();
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Retry, "busy"));
    }

    #[test]
    fn a_path_that_is_none_is_a_plugin_not_found() {
        for path in [&b""[..], b"\xff", b"/a\0b"] {
            let (_, exec) = exec(Host { path: Some(Ok(path.into())), ..Host::default() });
            let error = exec.find_in_path(&Call::default(), "bridge", &["/a".into()]).unwrap_err();
            assert_eq!(error.class(), ErrorClass::PluginNotFound);
            assert_eq!(error.to_string(), "failed to find plugin \"bridge\" in path [/a]");
        }
    }

    #[test]
    fn a_call_that_is_over_asks_nobody() {
        let (host, exec) = exec(Host { output: Some(Ok(Vec::new())), ..Host::default() });
        let call = Call::default();
        call.cancel.cancel();
        assert_eq!(
            exec.exec_plugin(&call, &mut Nursery::default(), Path::new("/p"), b"", &[]).unwrap_err().class(),
            ErrorClass::Cancelled
        );
        assert!(host.asked.lock().unwrap().is_empty());
    }
}
