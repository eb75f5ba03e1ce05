//! What libcni offers and the C ABI does not, asked of the Rust API: a question on each line of standard input, an answer
//! on each line of standard output, both JSON. Compares nothing; the oracle beside it does.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use cnirt::conf::{self, NetworkConfigList, PluginConfig};
use cnirt::result::CniResult;
use cnirt::{Error, ErrorClass, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A call and its arguments.
#[derive(Deserialize)]
#[serde(tag = "call", content = "with", rename_all = "camelCase")]
enum Question {
    LoadConf { dir: PathBuf, name: String },
    ConfFromFile { file: PathBuf },
    ConfFromBytes { text: String },
    NetworkConfFromFile { file: PathBuf },
    NetworkConfFromBytes { text: String },
    ConfListFromConf { text: String },
    InjectConf { text: String, values: Map<String, Value> },
    Create { text: String, version: String },
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
        Question::ConfFromFile { file } => plugin(&PluginConfig::from_file(file)?),
        Question::ConfFromBytes { text } => plugin(&single(text)?),
        Question::NetworkConfFromFile { file } => NetworkConfigList::from_file(file)?.to_value(None),
        Question::NetworkConfFromBytes { text } => NetworkConfigList::from_bytes(text.as_bytes())?.to_value(None),
        Question::ConfListFromConf { text } => NetworkConfigList::from_plugin(&single(text)?)?.to_value(None),
        Question::InjectConf { text, values } => plugin(&conf::inject(&single(text)?, values)?),
        Question::Create { text, version } => CniResult::create(version, text.as_bytes())?.to_value(),
    })
}

fn single(text: &str) -> Result<PluginConfig> {
    PluginConfig::from_bytes(text.as_bytes())
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
