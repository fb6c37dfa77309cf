//! Which properties reach the target: what it cannot hold (its capabilities say), and what the caller does not want,
//! is kept from it.
//!
//! An ACL passes by while its entries are counted. One with too many is announced to the target and never completed,
//! so that it never takes effect: there is no memory to keep it in until the number is known.

use crate::device::volume::{PropertyKind, PropertyKinds, TargetCapabilities, TargetRoot};
use crate::record::acl::AclCounter;
use crate::record::qtree::QTREE_HEAD_LEN;
use crate::units::Ino;

/// What of an object the target cannot hold, and gets something else for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reduction {
    /// An ACL with more entries than the target takes: the object has the ACL that follows from its permission bits
    /// (R-RESTORE-10).
    DefaultAcl {
        /// Which ACL.
        kind: PropertyKind,
        /// Entries it has.
        entries: u32,
    },
    /// A qtree becomes a directory, because it is not restored to the root of a volume (R-RESTORE-7).
    QtreeBelow,
    /// A qtree becomes a directory, because the target has no qtrees with such names (R-RESTORE-7).
    QtreeName,
}

impl Reduction {
    /// Whether the object is less than it was; otherwise it is what it has to be in its new place.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::DefaultAcl { .. })
    }
}

/// What passes by.
#[derive(Clone, Copy, Debug)]
enum Present {
    Passed,
    LeftOut,
    Acl {
        kind: PropertyKind,
        counter: AclCounter,
    },
    /// The name of a qtree is not known before its value has come.
    Qtree {
        at: usize,
    },
}

/// Whether an object can be a qtree where it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QtreePlace {
    Yes,
    Below,
    /// Its name has characters that the target's qtrees cannot have.
    Unnameable,
}

impl QtreePlace {
    /// Of the directory that is restored as `name` in `parent`; the root has no name.
    pub fn of(capabilities: &TargetCapabilities, parent: Ino, name: &[u8]) -> Self {
        let is_root = parent == Ino::ROOT && name.is_empty();
        match capabilities.root {
            TargetRoot::Directory => Self::Below,
            TargetRoot::TopLevel | TargetRoot::Qtree if !is_root => Self::Below,
            // Nor is the volume's own root one: a qtree is in it.
            TargetRoot::Volume if is_root || parent != Ino::ROOT => Self::Below,
            _ if !capabilities.unicode_qtree_names && !name.is_ascii() => Self::Unnameable,
            _ => Self::Yes,
        }
    }
}

/// What becomes of a piece of a value.
pub enum Piece {
    /// It goes to the target.
    Passes,
    /// It does not.
    Stays,
    /// It does not, and neither does what follows.
    Ends(Reduction),
}

/// The state of the property that passes by, and what of it the target takes.
#[derive(Clone, Debug)]
pub struct Admission {
    pub left_out: PropertyKinds,
    capabilities: TargetCapabilities,
    present: Present,
}

impl Admission {
    pub const fn new(capabilities: TargetCapabilities) -> Self {
        Self { left_out: PropertyKinds::NONE, capabilities, present: Present::Passed }
    }

    /// A property begins. `Err`: it does not reach the target, with what is to be told of it.
    pub fn begin(
        &mut self,
        kind: PropertyKind,
        value_len: u32,
        place: QtreePlace,
    ) -> Result<(), Option<Reduction>> {
        self.present = Present::LeftOut;
        if self.left_out.contains(kind) {
            return Err(None);
        }
        self.present = match kind {
            PropertyKind::Qtree if place == QtreePlace::Below => return Err(Some(Reduction::QtreeBelow)),
            PropertyKind::Qtree if place == QtreePlace::Unnameable => {
                return Err(Some(Reduction::QtreeName));
            }
            PropertyKind::Qtree if !self.capabilities.unicode_qtree_names => Present::Qtree { at: 0 },
            _ if AclCounter::entries_max(value_len) <= self.capabilities.ace_limit => Present::Passed,
            kind => match AclCounter::new(kind, value_len) {
                Some(counter) => Present::Acl { kind, counter },
                None => Present::Passed,
            },
        };
        Ok(())
    }

    /// A piece of its value.
    pub fn piece(&mut self, piece: &[u8]) -> Piece {
        let reduction = match &mut self.present {
            Present::Passed => return Piece::Passes,
            Present::LeftOut => return Piece::Stays,
            Present::Acl { kind, counter } => {
                counter.take(piece);
                match counter.entries() {
                    Some(entries) if entries > self.capabilities.ace_limit => {
                        Reduction::DefaultAcl { kind: *kind, entries }
                    }
                    _ => return Piece::Passes,
                }
            }
            Present::Qtree { at } => {
                let name = piece.get(QTREE_HEAD_LEN.saturating_sub(*at)..).unwrap_or_default();
                *at = at.saturating_add(piece.len());
                if name.is_ascii() {
                    return Piece::Passes;
                }
                Reduction::QtreeName
            }
        };
        self.present = Present::LeftOut;
        Piece::Ends(reduction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posix(entries: usize) -> ([u8; 100], usize) {
        let mut value = [7; 100];
        value[..4].copy_from_slice(&2_u32.to_le_bytes());
        (value, 4 + 8 * entries)
    }

    #[test]
    fn acls_up_to_the_limit_pass() {
        let mut capabilities = TargetCapabilities::ALL;
        capabilities.ace_limit = 5;
        for entries in 0..12 {
            let mut admission = Admission::new(capabilities);
            let (value, len) = posix(entries);
            let kind = PropertyKind::PosixAccessAcl;
            admission.begin(kind, len as u32, QtreePlace::Below).unwrap();
            // The last piece of one with too many never passes.
            let passed = value[..len].iter().all(|byte| matches!(admission.piece(&[*byte]), Piece::Passes));
            assert_eq!(passed, entries <= 5, "{entries}");
        }
        let mut admission = Admission::new(capabilities);
        admission.begin(PropertyKind::Xattr, 100, QtreePlace::Below).unwrap();
        assert!(matches!(admission.piece(&posix(12).0), Piece::Passes));
    }

    #[test]
    fn qtrees_are_in_the_root_of_a_volume() {
        let in_root = |root, parent, name: &[u8]| {
            let mut capabilities = TargetCapabilities::ALL;
            capabilities.root = root;
            QtreePlace::of(&capabilities, parent, name)
        };
        assert_eq!(in_root(TargetRoot::Volume, Ino::ROOT, b"sales"), QtreePlace::Yes);
        assert_eq!(in_root(TargetRoot::Volume, Ino::ROOT, b""), QtreePlace::Below);
        assert_eq!(in_root(TargetRoot::Volume, Ino(3), b"sales"), QtreePlace::Below);
        for root in [TargetRoot::TopLevel, TargetRoot::Qtree] {
            assert_eq!(in_root(root, Ino::ROOT, b""), QtreePlace::Yes);
            assert_eq!(in_root(root, Ino::ROOT, b"sales"), QtreePlace::Below);
        }
        assert_eq!(in_root(TargetRoot::Directory, Ino::ROOT, b""), QtreePlace::Below);
        let mut admission = Admission::new(TargetCapabilities::ALL);
        let begun = admission.begin(PropertyKind::Qtree, 20, QtreePlace::Below);
        assert_eq!(begun, Err(Some(Reduction::QtreeBelow)));
        assert!(matches!(admission.piece(b"x"), Piece::Stays));
    }

    #[test]
    fn names_beyond_ascii_where_there_are_none() {
        let mut capabilities = TargetCapabilities::ALL;
        capabilities.unicode_qtree_names = false;
        assert_eq!(QtreePlace::of(&capabilities, Ino::ROOT, "büro".as_bytes()), QtreePlace::Unnameable);
        assert_eq!(QtreePlace::of(&capabilities, Ino::ROOT, b"sales"), QtreePlace::Yes);
        let mut value = [0x80; QTREE_HEAD_LEN + 5];
        value[QTREE_HEAD_LEN..].copy_from_slice(b"sales");
        for (last, passes) in [(b's', true), (0xfc, false)] {
            value[QTREE_HEAD_LEN + 4] = last;
            let mut admission = Admission::new(capabilities);
            admission.begin(PropertyKind::Qtree, value.len() as u32, QtreePlace::Yes).unwrap();
            let passed = value.chunks(3).all(|piece| matches!(admission.piece(piece), Piece::Passes));
            assert_eq!(passed, passes);
        }
    }

    #[test]
    fn what_is_not_wanted_stays_and_nothing_is_told() {
        let mut admission = Admission::new(TargetCapabilities::ALL);
        admission.left_out = PropertyKinds::ACLS;
        for kind in [PropertyKind::Nfs4Acl, PropertyKind::NtDescriptor] {
            assert_eq!(admission.begin(kind, 8, QtreePlace::Below), Err(None));
            assert!(matches!(admission.piece(b"x"), Piece::Stays));
        }
        assert_eq!(admission.begin(PropertyKind::Stream, 8, QtreePlace::Below), Ok(()));
    }
}
