//! What a plugin finds in its environment: the process's, what options and call add, and `CNI_*`, which win.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::quote::quote;
use crate::call::Call;
use crate::error::{Error, Result};

/// libcni's `invoke.Args`.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_ARGS`, in order.
    pub plugin_args: Vec<(String, String)>,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
}

/// By name, the whole `KEY=VALUE`. Bytes, not text: the process's environment need not be UTF-8. Sorted, so that a plugin's
/// environment is predictable.
type Vars = BTreeMap<Vec<u8>, CString>;

/// The environment that every plugin of a handle gets, read once when the handle is made. The default one is empty.
#[derive(Clone, Debug, Default)]
pub struct Environ {
    vars: Vars,
}

impl Environ {
    /// The process's environment, or `exact` in its place, with `added` over it.
    ///
    /// A NUL, an empty key or a `=` in a key is `E_INVALID_ARGUMENT`.
    pub fn new(exact: Option<Vec<(String, String)>>, added: Vec<(String, String)>) -> Result<Self> {
        let mut vars = match exact {
            Some(exact) => checked(exact)?,
            None => std::env::vars_os()
                .map(|(key, value)| variable(key.into_vec(), &value.into_vec()))
                .collect::<Result<_>>()?,
        };
        vars.append(&mut checked(added)?);
        Ok(Self { vars })
    }

    /// `KEY=VALUE` for one plugin of one call, without duplicates; later wins: this, the call's `env`, `CNI_*`.
    /// A NUL, or a `=` in a key, is `E_INVALID_ARGUMENT`.
    pub fn for_plugin(&self, call: &Call, args: &Args) -> Result<Vec<CString>> {
        let mut own = checked(call.env.iter().cloned())?;
        let plugin_args = args.plugin_args.iter().map(|(key, value)| format!("{key}={value}"));
        // All six always, empty or not, as libcni does: a variable of the host's must not show through.
        for (key, value) in [
            ("CNI_COMMAND", args.command.as_str().into()),
            ("CNI_CONTAINERID", args.container_id.as_str().into()),
            ("CNI_NETNS", args.netns.as_str().into()),
            ("CNI_ARGS", plugin_args.collect::<Vec<_>>().join(";").into()),
            ("CNI_IFNAME", args.if_name.as_str().into()),
            ("CNI_PATH", joined(&args.path)),
        ] {
            own.extend([variable(key.into(), &value.into_vec())?]);
        }
        let mut vars: BTreeMap<_, _> = self.vars.iter().collect();
        vars.extend(&own);
        Ok(vars.into_values().cloned().collect())
    }
}

fn joined(dirs: &[PathBuf]) -> OsString {
    dirs.iter().map(|dir| dir.as_os_str()).collect::<Vec<_>>().join(":".as_ref())
}

fn variable(key: Vec<u8>, value: &[u8]) -> Result<(Vec<u8>, CString)> {
    let line =
        CString::new([key.as_slice(), b"=", value].concat()).map_err(|_| refused(&key, "there is a NUL in it"))?;
    Ok((key, line))
}

fn checked(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Vars> {
    let check = |(key, value): (String, String)| {
        if key.is_empty() || key.contains('=') {
            return Err(refused(key.as_bytes(), "a name must not be empty or have a \"=\" in it"));
        }
        variable(key.into_bytes(), value.as_bytes())
    };
    pairs.into_iter().map(check).collect()
}

fn refused(key: &[u8], why: &str) -> Error {
    Error::invalid(format!("environment variable {}: {why}", quote(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn lines(env: Vec<CString>) -> Vec<String> {
        env.into_iter().map(|line| line.into_string().unwrap()).collect()
    }

    #[test]
    fn later_sources_win_and_nothing_is_there_twice() {
        let exact = pairs(&[("A", "exact"), ("B", "exact"), ("C", "exact"), ("CNI_NETNS", "exact")]);
        let environ = Environ::new(Some(exact), pairs(&[("B", "added"), ("C", "added")])).unwrap();
        let call =
            Call { env: pairs(&[("C", "call"), ("D", "1"), ("D", "2"), ("CNI_IFNAME", "x")]), ..Call::default() };
        let args = Args {
            command: "ADD".into(),
            container_id: "id".into(),
            netns: "/ns".into(),
            plugin_args: pairs(&[("K", "V"), ("A", "="), ("E", "")]),
            if_name: "eth0".into(),
            path: vec!["/a".into(), "/b".into()],
        };
        assert_eq!(
            lines(environ.for_plugin(&call, &args).unwrap()),
            [
                "A=exact",
                "B=added",
                "C=call",
                "CNI_ARGS=K=V;A==;E=",
                "CNI_COMMAND=ADD",
                "CNI_CONTAINERID=id",
                "CNI_IFNAME=eth0",
                "CNI_NETNS=/ns",
                "CNI_PATH=/a:/b",
                "D=2"
            ]
        );
    }

    #[test]
    fn the_six_are_always_there() {
        let env = lines(Environ::default().for_plugin(&Call::default(), &Args::default()).unwrap());
        let keys = ["CNI_ARGS=", "CNI_COMMAND=", "CNI_CONTAINERID=", "CNI_IFNAME=", "CNI_NETNS=", "CNI_PATH="];
        assert_eq!(env, keys);
    }

    #[test]
    fn the_processs_environment_is_there_unless_an_exact_one_is_given() {
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        let has_path =
            |environ: Environ| lines(environ.for_plugin(&Call::default(), &Args::default()).unwrap()).contains(&path);
        assert!(has_path(Environ::new(None, Vec::new()).unwrap()));
        assert!(!has_path(Environ::new(Some(Vec::new()), Vec::new()).unwrap()));
    }

    #[test]
    fn what_an_environment_cannot_hold_is_refused_by_name() {
        for (key, value) in [("A=B", ""), ("", "x"), ("A\0", ""), ("A", "\0")] {
            let bad = pairs(&[(key, value)]);
            let call = Call { env: bad.clone(), ..Call::default() };
            for error in [
                Environ::new(Some(bad.clone()), Vec::new()).unwrap_err(),
                Environ::new(None, bad).unwrap_err(),
                Environ::default().for_plugin(&call, &Args::default()).unwrap_err(),
            ] {
                assert_eq!(error.class(), ErrorClass::InvalidArgument);
                let name = format!("environment variable {}:", quote(key.as_bytes()));
                assert!(error.to_string().starts_with(&name), "{error}");
            }
        }
        let args = Args { plugin_args: pairs(&[("K", "\0")]), ..Args::default() };
        let error = Environ::default().for_plugin(&Call::default(), &args).unwrap_err();
        assert!(error.to_string().contains("CNI_ARGS"), "{error}");
    }
}
