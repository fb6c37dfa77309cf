//! The memory of the system, by which sessions are limited (R-SESSION-1).

use crate::cli::exit::CliError;
use crate::cli::raw::byte_count;
use tapedump_core::session;

/// Takes the place of what the system tells.
const VARIABLE: &str = "TAPEDUMP_MEMORY";

const GIB: u64 = 1 << 30;

/// How many dumps and restores may run at once.
pub fn limit() -> Result<u32, CliError> {
    match std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) {
        None => Ok(session::limit(installed())),
        Some(text) => {
            let given =
                text.to_str().ok_or_else(|| "it is a number of bytes".to_owned()).and_then(byte_count);
            given.map(session::limit).map_err(|why| {
                CliError::failed(format!(
                    "{VARIABLE}: {}: {why}; correct or unset it",
                    text.to_string_lossy()
                ))
            })
        }
    }
}

/// What is built in. The kernel tells what it can use: that without its own and the firmware's part, which make up less than
/// 1 GiB of a system of 16 or 24.
fn installed() -> u64 {
    let told = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion)] // The field is a `c_ulong`: of 32 bits on some machines.
    let usable = u64::from(told.totalram).saturating_mul(u64::from(told.mem_unit));
    rounded(usable)
}

const fn rounded(usable: u64) -> u64 {
    usable.div_ceil(GIB).saturating_mul(GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_of_16_gib_has_16_gib() {
        // What a kernel tells on such a machine.
        assert_eq!(rounded(16_310_312 << 10), 16 * GIB);
        assert_eq!(rounded(16 * GIB), 16 * GIB);
        assert_eq!(rounded(15 * GIB - 1), 15 * GIB);
        assert_eq!(rounded(u64::MAX) / GIB, u64::MAX / GIB);
        assert!(installed() >= GIB);
    }
}
