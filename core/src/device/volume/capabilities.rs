//! What a target can hold: what it cannot is restored as the nearest thing that it can.

/// What the directory is that a restore goes to, within its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TargetRoot {
    /// The root of a volume.
    Volume,
    /// The root of a qtree.
    Qtree,
    /// A directory in the root of a volume that is no qtree.
    TopLevel,
    /// Any other directory.
    Directory,
}

/// What a target can hold; a value, so that a restore for an older system, or for another one, can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TargetCapabilities {
    /// Where in its volume the restore goes. Qtrees are directories of a volume's root only (R-RESTORE-7), LUNs are in a volume's or a
    /// qtree's root only (R-RESTORE-8).
    pub root: TargetRoot,
    /// Most entries that an ACL may have (R-RESTORE-10); of an NT descriptor, each of its two lists.
    pub ace_limit: u32,
    /// It has LUNs (R-RESTORE-8).
    pub luns: bool,
    /// Names of qtrees may have any character, and not only those of ASCII (R-RESTORE-7).
    pub unicode_qtree_names: bool,
    /// It is of an older release than this one (R-RESTORE-8).
    pub older_release: bool,
}

impl TargetCapabilities {
    /// A volume that can hold everything that a dump can.
    pub const ALL: Self = Self {
        root: TargetRoot::Volume,
        ace_limit: u32::MAX,
        luns: true,
        unicode_qtree_names: true,
        older_release: false,
    };
}
