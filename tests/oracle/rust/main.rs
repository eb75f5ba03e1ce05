//! What libcni offers and the C ABI does not, asked of the Rust API: a question on each line of standard input, an answer
//! on each line of standard output, both JSON. Compares nothing; the oracle beside it does.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use cnirt::conf::{self, NetworkConfigList, PluginConfig};
use cnirt::result::CniResult;
use cnirt::{Error, ErrorClass, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A call and its arguments; texts are in files, so that any bytes can be asked for.
#[derive(Deserialize)]
#[serde(tag = "call", content = "with", rename_all = "camelCase")]
enum Question {
    LoadConf { dir: PathBuf, name: String },
    LoadNetworkConf { dir: PathBuf, name: String },
    ConfFromFile { file: PathBuf },
    ConfFromBytes { file: PathBuf },
    NetworkConfFromFile { file: PathBuf },
    NetworkConfFromBytes { file: PathBuf },
    ConfListFromConf { file: PathBuf },
    InjectConf { file: PathBuf, values: Map<String, Value> },
    Create { file: PathBuf, version: String },
}

fn main() -> Result<(), std::io::Error> {
    let mut answers = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(question) => ask(&question),
            Err(error) => Err(Error::new(ErrorClass::InvalidArgument, error.to_string())),
        };
        let answer = match answer {
            Ok(value) => json!({"json": value.to_string()}),
            Err(error) => json!({"err": error.to_string()}),
        };
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}

fn ask(question: &Question) -> Result<Value> {
    Ok(match question {
        Question::LoadConf { dir, name } => plugin(&conf::load_conf(dir, name)?),
        Question::LoadNetworkConf { dir, name } => conf::load_network_conf(dir, name)?.to_value(None),
        Question::ConfFromFile { file } => plugin(&PluginConfig::from_file(file)?),
        Question::ConfFromBytes { file } => plugin(&PluginConfig::from_bytes(&read(file)?)?),
        Question::NetworkConfFromFile { file } => NetworkConfigList::from_file(file)?.to_value(None),
        Question::NetworkConfFromBytes { file } => NetworkConfigList::from_bytes(&read(file)?)?.to_value(None),
        Question::ConfListFromConf { file } => {
            NetworkConfigList::from_plugin(&PluginConfig::from_bytes(&read(file)?)?)?.to_value(None)
        }
        Question::InjectConf { file, values } => {
            plugin(&conf::inject(&PluginConfig::from_bytes(&read(file)?)?, values)?)
        }
        Question::Create { file, version } => CniResult::create(version, &read(file)?)?.to_value(),
    })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| Error::new(ErrorClass::Io, error.to_string()))
}

fn plugin(plugin: &PluginConfig) -> Value {
    json!({
        "type": plugin.plugin_type,
        "name": plugin.name,
        "cniVersion": plugin.cni_version,
        "capabilities": plugin.capabilities,
        "bytes": String::from_utf8_lossy(&plugin.bytes),
    })
}
