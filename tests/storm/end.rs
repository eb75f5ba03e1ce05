//! The last host: the pods that are live must be there, and after GC of a node without pods none may be.

use std::time::Instant;

use cnirt::pod::{GcRequest, PodRequest, Source};
use serde_json::json;

use crate::plan::{NETWORK, Plan, TO_REMOVE, pod_name};

/// So many of the live pods are checked by their plugins, too.
const CHECKED: usize = 50;

/// Reads the live pods from standard input.
pub(crate) fn main() -> Result<(), String> {
    let plan = Plan::told()?;
    let live: Vec<(u32, [String; 2])> =
        serde_json::from_reader(std::io::stdin().lock()).map_err(|error| error.to_string())?;
    let manager = plan.manager()?;
    let mut wrong = Vec::new();
    for (number, (pod, [address, link])) in live.iter().enumerate() {
        let request = PodRequest::from_json(&plan.request(*pod).to_string()).map_err(|error| error.to_string())?;
        match manager.pod_status(&request) {
            Ok(status)
                if status.source == Source::Netlink
                    && status.result.ips.iter().any(|ip| ip.to_string() == *address) => {}
            other => wrong.push(format!("live pod {pod} does not have {address}: {other:?}")),
        }
        let reservation = plan.path("ipam").join(NETWORK).join(address);
        let holder = std::fs::read_to_string(reservation).unwrap_or_default();
        if holder.lines().next() != Some(pod_name(*pod).as_str()) {
            wrong.push(format!("{address} of live pod {pod} is reserved for {holder:?}"));
        }
        // Some, as it takes its time.
        if number < CHECKED
            && let Err(error) = manager.check_pod(&request)
        {
            wrong.push(format!("live pod {pod} with {address} and {link}: {error}"));
        }
    }
    println!("storm: {} pods are live, and as they were made", live.len());
    let everything = json!({"validPods": [], "timeoutMs": u64::try_from(TO_REMOVE.as_millis()).unwrap_or(u64::MAX)});
    let everything = GcRequest::from_json(&everything.to_string()).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    match manager.gc(&everything) {
        Ok(collected) => {
            println!(
                "storm: GC removed {} attachments in {:.1} s",
                collected.deleted.len(),
                begun.elapsed().as_secs_f64()
            );
        }
        Err(error) => wrong.push(format!("GC of everything: {error}")),
    }
    let pods = manager.list_pods().map_err(|error| error.to_string())?;
    if !pods.is_empty() {
        wrong.push(format!("still listed: {pods:?}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
