//! What a target can hold, as an argument.

use tapedump_core::device::volume::TargetCapabilities;

/// A target that can hold everything, but for what the user named.
pub type Limits = TargetCapabilities;

/// Reads a list like `aces=32,no-luns`.
pub fn limits(text: &str) -> Result<Limits, String> {
    let mut limits = TargetCapabilities::ALL;
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            None if word == "no-luns" => limits.luns = false,
            None if word == "no-unicode-qtrees" => limits.unicode_qtree_names = false,
            None if word == "older-release" => limits.older_release = true,
            Some(("aces", number)) => {
                limits.ace_limit =
                    number.parse().map_err(|_| format!("'{number}' is no number of ACL entries"))?;
            }
            _ => {
                return Err(format!("'{word}' is none of aces=N, no-luns, no-unicode-qtrees, older-release"));
            }
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_can_hold_all_but_what_is_named() {
        assert_eq!(limits("").unwrap(), TargetCapabilities::ALL);
        let some = limits("aces=32, no-luns").unwrap();
        assert_eq!((some.ace_limit, some.luns), (32, false));
        assert!(some.unicode_qtree_names && !some.older_release);
        let others = limits("no-unicode-qtrees,older-release").unwrap();
        assert!(!others.unicode_qtree_names && others.older_release && others.luns);
        for bad in ["aces", "aces=", "aces=-1", "aces=many", "luns", "no-luns=1"] {
            assert!(limits(bad).is_err(), "{bad}");
        }
    }
}
