//! CHECK of everything that is recorded of a pod.

use std::path::Path;

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, ErrorClass, Result};
use crate::netns;
use crate::network::{Cni, RuntimeConf};
use crate::pod::attached::{is_meant, recorded_netns};
use crate::pod::cni::CniNetworkPlugin;
use crate::pod::list::name;
use crate::pod::{CheckedNetwork, NetworkChoice, PodChecks, PodRequest};
use crate::store::CacheEntry;
use crate::version;

impl CniNetworkPlugin {
    /// Checks the request's networks, or all that are recorded.
    pub(super) fn check(&self, call: &Call, request: &PodRequest) -> Result<PodChecks> {
        let given = self.netns(request)?;
        let (call, _locked) = self.lock_on_full_disk(call, &request.id, "check_pod")?;
        let unknown = |what: String| Error::new(ErrorClass::NotFound, what);
        let mut entries = self.known_attachments(&request.id)?;
        if entries.is_empty() {
            return Err(unknown(format!("nothing is known of pod {}", request.id)));
        }
        if let Some(networks) = &request.networks {
            let default = self.loaded_default().map(|network| network.list.name.clone());
            let mut chosen = Vec::new();
            for network in networks {
                let name = match &network.choice {
                    NetworkChoice::Default => default.as_deref().unwrap_or_default(),
                    NetworkChoice::Name(name) => name,
                    NetworkChoice::Config(list) => &list.name,
                };
                let before = chosen.len();
                let meant = |entry: &mut CacheEntry| is_meant(&entry.key, network.if_name.as_ref(), Some(name));
                chosen.extend(entries.extract_if(.., meant));
                if chosen.len() == before {
                    return Err(unknown(format!("pod {} is not attached to network {name:?}", request.id)));
                }
            }
            entries = chosen;
        }
        let mut networks = Vec::new();
        let mut errors = Vec::new();
        for entry in entries {
            match self.check_entry(&call, &entry, given.as_deref()) {
                Ok(checked) => networks.push(CheckedNetwork { name: name(&entry), checked }),
                Err(error) => errors.push(error),
            }
        }
        match Error::joined(errors) {
            Some(error) => Err(error),
            None => Ok(PodChecks { pod: request.identity(), networks }),
        }
    }

    /// False where the list has no CHECK.
    fn check_entry(&self, call: &Call, entry: &CacheEntry, given: Option<&str>) -> Result<bool> {
        let list = NetworkConfigList::from_any(&entry.config)?;
        if list.disable_check || !version::at_least(&list.cni_version, version::CHECK)? {
            return Ok(false);
        }
        let mut rt = RuntimeConf::from(entry);
        match given {
            Some(given) => {
                netns::open(Path::new(given))?;
                given.clone_into(&mut rt.netns);
            }
            None if recorded_netns(entry)?.is_none() => {
                let words = format!("{} is no longer the network namespace of pod {}", rt.netns, rt.container_id);
                return Err(Error::new(ErrorClass::Netns, words));
            }
            None => {}
        }
        self.cni.check_network_list(call, &list, &rt).map(|()| true)
    }
}
