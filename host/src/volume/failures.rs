//! Failures that wait to be told. A tape can make hundreds of thousands of them at once, all of one object with a long
//! path; so only some keep their paths.

use super::VolumeError;
use tapedump_core::device::volume::Failure;

/// Failures in one queue that keep their paths.
const WITH_PATH_MAX: usize = 256;

/// Lets go of the path of a failure that is about to wait behind `waiting` others; the number stays.
pub(crate) fn shortened(mut failure: Failure<VolumeError>, waiting: usize) -> Failure<VolumeError> {
    if waiting >= WITH_PATH_MAX {
        failure.error.forget_path(failure.ino);
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tapedump_core::device::ErrorKind;
    use tapedump_core::device::volume::FailedPart;
    use tapedump_core::units::Ino;

    #[test]
    fn a_path_is_kept_while_few_wait() {
        let error = VolumeError::own("make", "some/path", ErrorKind::Other, "it is a test");
        let failure = Failure { ino: Ino(7), what: FailedPart::Create, error };
        let path = |failure: Failure<VolumeError>| failure.error.path().map(Path::to_owned);
        assert_eq!(path(shortened(failure.clone(), WITH_PATH_MAX - 1)).unwrap(), Path::new("some/path"));
        let late = shortened(failure, WITH_PATH_MAX);
        assert_eq!(late.error.to_string(), "cannot make inode 7: it is a test");
    }
}
