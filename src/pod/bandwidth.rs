//! Traffic limits from a pod's annotations, as the kubelet reads them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::pod::Bandwidth;

/// The annotation that limits traffic into the pod.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// The annotation that limits traffic out of the pod.
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// Where only a rate is known; in practice no limit on bursts.
const BURST: u64 = i32::MAX as u64;
/// The kubelet's bounds, in bits per second: 1k and 1P.
const REASONABLE: std::ops::RangeInclusive<u128> = 1_000..=1_000_000_000_000_000;

/// The limits that the annotations set; `None` where they set none.
pub(super) fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Option<Bandwidth>> {
    let rate = |key: &str| -> Result<u64> {
        let Some(text) = annotations.get(key) else { return Ok(0) };
        let refused = |why: &str| Error::invalid(format!("pod request, annotation {key:?}: {text:?} {why}"));
        let value = quantity(text).ok_or_else(|| refused("is not a quantity"))?;
        if value < *REASONABLE.start() {
            return Err(refused("is unreasonably small (< 1kbit)"));
        }
        u64::try_from(value)
            .ok()
            .filter(|_| REASONABLE.contains(&value))
            .ok_or_else(|| refused("is unreasonably large (> 1Pbit)"))
    };
    let burst = |rate: u64| if rate > 0 { BURST } else { 0 };
    let (ingress_rate, egress_rate) = (rate(INGRESS)?, rate(EGRESS)?);
    if ingress_rate == 0 && egress_rate == 0 {
        return Ok(None);
    }
    let (ingress_burst, egress_burst) = (burst(ingress_rate), burst(egress_rate));
    Ok(Some(Bandwidth { ingress_rate, ingress_burst, egress_rate, egress_burst }))
}

/// The value of a Kubernetes quantity ("10M", "1.5Gi", "1e6"), rounded up to a whole number, as `Quantity.Value()` does.
/// `None` where it is malformed, negative or beyond any use.
fn quantity(text: &str) -> Option<u128> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (multiplier, divisor) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() + fraction.len() > 18 {
        return None;
    }
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let tenths = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(multiplier)?.div_ceil(tenths.checked_mul(divisor)?))
}

/// A suffix as multiplier and divisor.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let decimal = |power: u32| 10u128.checked_pow(power);
    let binary = |power: u32| 1024u128.checked_pow(power);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, decimal(9)?),
        "u" => (1, decimal(6)?),
        "m" => (1, decimal(3)?),
        "k" => (decimal(3)?, 1),
        "M" => (decimal(6)?, 1),
        "G" => (decimal(9)?, 1),
        "T" => (decimal(12)?, 1),
        "P" => (decimal(15)?, 1),
        "E" => (decimal(18)?, 1),
        "Ki" => (binary(1)?, 1),
        "Mi" => (binary(2)?, 1),
        "Gi" => (binary(3)?, 1),
        "Ti" => (binary(4)?, 1),
        "Pi" => (binary(5)?, 1),
        "Ei" => (binary(6)?, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(power) {
                Ok(power) => (decimal(power)?, 1),
                Err(_) => (1, decimal(power.unsigned_abs())?),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        for (text, value) in [
            ("1000", Some(1000)),
            ("1k", Some(1000)),
            ("+10M", Some(10_000_000)),
            ("1.5k", Some(1500)),
            (".5G", Some(500_000_000)),
            ("5.", Some(5)),
            ("1Ki", Some(1024)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("12E", Some(12_000_000_000_000_000_000)),
            ("1500m", Some(2)),
            ("10e-1", Some(1)),
            ("1.0001", Some(2)),
            ("", None),
            (".", None),
            ("-1", None),
            ("1 k", None),
            ("1K", None),
            ("1.2.3", None),
            ("1e999", None),
            ("99999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(quantity(text), value, "{text:?}");
        }
    }

    #[test]
    fn annotations_become_rates_with_the_kubelets_burst() {
        let read = |pairs: &[(&str, &str)]| {
            from_annotations(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(read(&[("other", "x")]).unwrap(), None);
        let one = Bandwidth { ingress_rate: 1_000_000, ingress_burst: 2_147_483_647, ..Bandwidth::default() };
        assert_eq!(read(&[(INGRESS, "1M")]).unwrap(), Some(one));
        let both = read(&[(INGRESS, "1M"), (EGRESS, "1P")]).unwrap().unwrap();
        assert_eq!((both.egress_rate, both.egress_burst), (1_000_000_000_000_000, 2_147_483_647));
        for (value, words) in [
            ("x", "\"x\" is not a quantity"),
            ("999", "\"999\" is unreasonably small (< 1kbit)"),
            ("2P", "\"2P\" is unreasonably large (> 1Pbit)"),
        ] {
            let error = read(&[(EGRESS, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("pod request, annotation \"kubernetes.io/egress-bandwidth\": {words}"));
        }
    }
}
