//! The attributes of a LUN: the value of its [`PropertyKind::Lun`](crate::device::volume::PropertyKind::Lun).
//!
//! ```text
//!  0  4  magic `TDLU`
//!  4  1  version, 1
//!  5  1  state: 1 online, 2 offline, 3 inconsistent
//!  6  1  flags: 1 mapped, 2 restricted, 4 a plain file
//!  7  1  zero
//!  8  8  size in bytes, u64
//! 16 12  serial
//! 28  2  type of the operating system, u16
//! 30  2  zero
//! ```
//!
//! Big-endian. A later version may be longer; what is behind byte 32 is passed over. With the flag "plain file" it is no
//! LUN, and only the restriction counts.

use core::fmt;

/// Bytes of the attributes that are written.
pub const LUN_LEN: usize = 32;
/// Bytes of a serial.
pub const SERIAL_LEN: usize = 12;

const MAGIC: [u8; 4] = *b"TDLU";
const VERSION: u8 = 1;

const MAPPED: u8 = 1;
const RESTRICTED: u8 = 2;
const PLAIN_FILE: u8 = 4;

/// What hosts may do with a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LunState {
    /// It takes I/O.
    Online,
    /// Somebody took it offline.
    Offline,
    /// Its data is not what it should be; it is not dumped.
    Inconsistent,
}

impl LunState {
    const fn raw(self) -> u8 {
        match self {
            Self::Online => 1,
            Self::Offline => 2,
            Self::Inconsistent => 3,
        }
    }

    const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Online,
            2 => Self::Offline,
            3 => Self::Inconsistent,
            _ => return None,
        })
    }
}

/// Defines the types of operating systems, with their numbers and names.
macro_rules! os_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The operating system that a LUN is laid out for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum OsType {
            $($(#[$doc])* $name,)*
            /// One of a later version.
            Unknown(u16),
        }

        impl OsType {
            /// All that are known.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name, as users write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown(_) => "unknown",
                }
            }

            const fn raw(self) -> u16 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Unknown(raw) => raw,
                }
            }

            const fn from_raw(raw: u16) -> Self {
                match raw {
                    $($number => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }
        }
    };
}

os_types! {
    /// Linux.
    Linux = 1, "linux";
    /// VMware ESX.
    Vmware = 2, "vmware";
    /// Windows with MBR partitions.
    Windows = 3, "windows";
    /// Windows with GPT partitions.
    WindowsGpt = 4, "windows_gpt";
    /// Windows 2008 and later.
    Windows2008 = 5, "windows_2008";
    /// Hyper-V.
    HyperV = 6, "hyper_v";
    /// Xen.
    Xen = 7, "xen";
    /// AIX.
    Aix = 8, "aix";
    /// HP-UX.
    HpUx = 9, "hpux";
    /// Solaris with SMI labels.
    Solaris = 10, "solaris";
    /// Solaris with EFI labels.
    SolarisEfi = 11, "solaris_efi";
    /// OpenVMS.
    OpenVms = 12, "openvms";
    /// NetWare.
    Netware = 13, "netware";
}

/// What identifies a LUN to its hosts: printable ASCII without spaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Serial([u8; SERIAL_LEN]);

impl Serial {
    /// `None`: something in it is not printable.
    #[must_use]
    pub fn new(bytes: [u8; SERIAL_LEN]) -> Option<Self> {
        bytes.iter().all(u8::is_ascii_graphic).then_some(Self(bytes))
    }

    /// Its characters.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; SERIAL_LEN] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a value is no attributes of a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LunError {
    /// It is too short.
    Short,
    /// It does not begin as it should.
    BadMagic,
    /// A later version wrote it.
    UnknownVersion(u8),
    /// There is no such state.
    UnknownState(u8),
    /// The serial is not printable.
    BadSerial,
}

impl fmt::Display for LunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("too short"),
            Self::BadMagic => f.write_str("something else"),
            Self::UnknownVersion(version) => write!(f, "of a later version ({version})"),
            Self::UnknownState(state) => write!(f, "an unknown state ({state})"),
            Self::BadSerial => f.write_str("a serial that is not printable"),
        }
    }
}

/// Attributes as they are stored; any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Lun<'a>(&'a [u8; LUN_LEN]);

impl<'a> Lun<'a> {
    /// A view of a stored value.
    ///
    /// # Errors
    /// It is too short.
    pub fn new_checked(value: &'a [u8]) -> Result<Self, LunError> {
        value.first_chunk().map(Self).ok_or(LunError::Short)
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = self.0.get(at..).unwrap_or_default();
        bytes.first_chunk().copied().unwrap_or([0; N])
    }

    fn byte(&self, at: usize) -> u8 {
        self.field::<1>(at)[0]
    }

    /// First bytes.
    #[must_use]
    pub fn magic(&self) -> [u8; 4] {
        self.field(0)
    }

    /// Version it was written by.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.byte(4)
    }

    /// The stored size.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from_be_bytes(self.field(8))
    }
}

/// Attributes of a LUN, or the restriction of a plain file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LunRepr {
    /// What identifies it.
    pub serial: Serial,
    /// The operating system it is for.
    pub os_type: OsType,
    /// Its size in bytes.
    pub size: u64,
    /// State; of a restricted one, that to which it returns.
    pub state: LunState,
    /// The I/O of clients is restricted: a restore is under way on it, or was cut short (R-RESTORE-9). It is not dumped.
    pub restricted: bool,
    /// Hosts see it.
    pub mapped: bool,
    /// It is no LUN: only the restriction counts.
    pub plain_file: bool,
}

impl LunRepr {
    /// Attributes of a new LUN: online, not mapped.
    #[must_use]
    pub const fn new(serial: Serial, os_type: OsType, size: u64) -> Self {
        let state = LunState::Online;
        Self { serial, os_type, size, state, restricted: false, mapped: false, plain_file: false }
    }

    /// The mark of a plain file on which a restore is under way.
    #[must_use]
    pub const fn restricted_file() -> Self {
        let serial = Serial([b'-'; SERIAL_LEN]);
        Self { restricted: true, plain_file: true, ..Self::new(serial, OsType::Unknown(0), 0) }
    }

    /// The attributes that a view shows.
    ///
    /// # Errors
    /// They are none that this version knows.
    pub fn parse(view: &Lun<'_>) -> Result<Self, LunError> {
        if view.magic() != MAGIC {
            return Err(LunError::BadMagic);
        }
        if view.version() != VERSION {
            return Err(LunError::UnknownVersion(view.version()));
        }
        let (state, flags) = (view.byte(5), view.byte(6));
        Ok(Self {
            serial: Serial::new(view.field(16)).ok_or(LunError::BadSerial)?,
            os_type: OsType::from_raw(u16::from_be_bytes(view.field(28))),
            size: view.size(),
            state: LunState::from_raw(state).ok_or(LunError::UnknownState(state))?,
            restricted: flags & RESTRICTED != 0,
            mapped: flags & MAPPED != 0,
            plain_file: flags & PLAIN_FILE != 0,
        })
    }

    /// The attributes that a stored value holds.
    ///
    /// # Errors
    /// They are none that this version knows.
    pub fn of_value(value: &[u8]) -> Result<Self, LunError> {
        Self::parse(&Lun::new_checked(value)?)
    }

    /// The value to store.
    pub fn emit(&self, value: &mut [u8; LUN_LEN]) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags =
            flag(self.mapped, MAPPED) | flag(self.restricted, RESTRICTED) | flag(self.plain_file, PLAIN_FILE);
        let [b0, b1, b2, b3] = MAGIC;
        let head = [b0, b1, b2, b3, VERSION, self.state.raw(), flags, 0];
        let (size, os_type) = (self.size.to_be_bytes(), self.os_type.raw().to_be_bytes());
        let fields = head.iter().chain(&size).chain(self.serial.bytes()).chain(&os_type).chain(&[0; 2]);
        value.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
    }

    /// The value to store.
    #[must_use]
    pub fn value(&self) -> [u8; LUN_LEN] {
        let mut value = [0; LUN_LEN];
        self.emit(&mut value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LunRepr {
        let serial = Serial::new(*b"P3/pO+Gq-9zX").unwrap();
        LunRepr { mapped: true, ..LunRepr::new(serial, OsType::Vmware, 0x0102_0304_0506) }
    }

    #[test]
    fn the_value_is_as_documented() {
        let mut value = [0xa5; LUN_LEN];
        LunRepr { restricted: true, state: LunState::Offline, ..sample() }.emit(&mut value);
        assert_eq!(&value[..8], b"TDLU\x01\x02\x03\0");
        assert_eq!(&value[8..16], &[0, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(&value[16..28], b"P3/pO+Gq-9zX");
        assert_eq!(&value[28..], &[0, 2, 0, 0]);
    }

    #[test]
    fn every_value_comes_back() {
        for state in [LunState::Online, LunState::Offline, LunState::Inconsistent] {
            for bits in 0..8 {
                for os_type in OsType::ALL.iter().copied().chain([OsType::Unknown(0), OsType::Unknown(700)]) {
                    let lun = LunRepr {
                        state,
                        os_type,
                        restricted: bits & 1 != 0,
                        mapped: bits & 2 != 0,
                        plain_file: bits & 4 != 0,
                        ..sample()
                    };
                    assert_eq!(LunRepr::of_value(&lun.value()), Ok(lun));
                    let longer = [&lun.value()[..], b"of a later version"].concat();
                    assert_eq!(LunRepr::of_value(&longer), Ok(lun));
                }
            }
        }
        let mark = LunRepr::restricted_file();
        assert_eq!(LunRepr::of_value(&mark.value()), Ok(mark));
    }

    #[test]
    fn garbage_is_refused() {
        let good = sample().value();
        assert_eq!(LunRepr::of_value(&good[..LUN_LEN - 1]), Err(LunError::Short));
        assert_eq!(LunRepr::of_value(b""), Err(LunError::Short));
        let changed = |at: usize, to: u8| {
            let mut value = good;
            value[at] = to;
            LunRepr::of_value(&value)
        };
        assert_eq!(changed(0, b'X'), Err(LunError::BadMagic));
        assert_eq!(changed(4, 2), Err(LunError::UnknownVersion(2)));
        assert_eq!(changed(5, 0), Err(LunError::UnknownState(0)));
        assert_eq!(changed(5, 4), Err(LunError::UnknownState(4)));
        assert_eq!(changed(27, b' '), Err(LunError::BadSerial));
        assert_eq!(changed(16, 0xff), Err(LunError::BadSerial));
        for at in 0..LUN_LEN {
            for to in 0..=255 {
                // Whatever it is taken for, it is something that can be stored.
                if let Ok(lun) = changed(at, to) {
                    assert_eq!(LunRepr::of_value(&lun.value()), Ok(lun));
                }
            }
        }
    }

    #[test]
    fn names_of_systems_are_all_different() {
        for (index, one) in OsType::ALL.iter().enumerate() {
            assert!(OsType::ALL.iter().skip(index + 1).all(|other| other.name() != one.name()));
        }
        assert!(Serial::new(*b"has a space.").is_none());
        extern crate std;
        assert_eq!(std::format!("{}", sample().serial), "P3/pO+Gq-9zX");
    }
}
