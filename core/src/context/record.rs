//! What is known of a restartable context (R-RESTART-3), as it is stored.

use zerocopy::byteorder::{BE, I64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::device::tape::TapePosition;
use crate::stream::writer::DumpIdentity;
use crate::units::{BlockingFactor, DumpId, Level, Timestamp, VolumeId};

/// What a context is in the midst of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ContextState {
    /// The dump runs; or it was cut off, when nothing runs it.
    Dumping,
    /// The dump ended early, and said so.
    Ended,
    /// The context is to be deleted, and not all of it could be.
    Deleting,
}

/// How the dump last ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BackupStatus {
    /// It did not: it runs, or was cut off.
    Unfinished,
    /// It was interrupted by a user or a program.
    Interrupted,
    /// The tape failed or ended.
    Tape,
    /// The volume failed.
    Volume,
    /// A failover, a relocation or the like ended it; it is never restarted (R-RESTART-6).
    Event,
}

/// A context without what only a machine needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextRecord {
    /// The dump, whose identity is the context's, too.
    pub identity: DumpIdentity,
    /// Tape blocks per record.
    pub blocking: BlockingFactor,
    /// The volume.
    pub volume: VolumeId,
    /// Where on its tape the dump begins.
    pub begin: TapePosition,
    /// When it was last stored.
    pub updated: Timestamp,
    /// The snapshot was made for the dump, and goes with the context.
    pub snapshot_is_own: bool,
    /// There is a catalog, the map of where each object is on tape.
    pub has_offset_map: bool,
    /// What is on the tape is verified before the dump goes on.
    pub offset_verify: bool,
    /// It may be restarted.
    pub restartable: bool,
    /// How often it was restarted.
    pub restart_pass: u32,
    /// How it last ended.
    pub status: BackupStatus,
    /// What it is in the midst of.
    pub state: ContextState,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRecord {
    dump: [u8; 16],
    volume: [u8; 16],
    begin_record: U64<BE>,
    secs: I64<BE>,
    nanos: U32<BE>,
    begin_file: U32<BE>,
    date: U32<BE>,
    base_date: U32<BE>,
    restart_pass: U32<BE>,
    blocking: U16<BE>,
    level: u8,
    flags: u8,
    status: u8,
    state: u8,
    reserved: [u8; 2],
}

const SNAPSHOT_IS_OWN: u8 = 1;
const HAS_OFFSET_MAP: u8 = 2;
const OFFSET_VERIFY: u8 = 4;
const RESTARTABLE: u8 = 8;

impl ContextRecord {
    /// Length as it is stored.
    pub const LEN: usize = size_of::<RawRecord>();

    /// As it is stored; `docs/context.md` has the layout.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut raw = RawRecord::new_zeroed();
        raw.dump = self.identity.id.0;
        raw.volume = self.volume.0;
        raw.begin_record = self.begin.record.into();
        raw.begin_file = self.begin.file.into();
        raw.secs = self.updated.secs.into();
        raw.nanos = self.updated.nanos.into();
        raw.date = self.identity.date.into();
        raw.base_date = self.identity.base_date.into();
        raw.restart_pass = self.restart_pass.into();
        raw.blocking = (self.blocking.blocks() as u16).into();
        raw.level = self.identity.level.number() as u8;
        let flags = [
            (self.snapshot_is_own, SNAPSHOT_IS_OWN),
            (self.has_offset_map, HAS_OFFSET_MAP),
            (self.offset_verify, OFFSET_VERIFY),
            (self.restartable, RESTARTABLE),
        ];
        raw.flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        raw.status = match self.status {
            BackupStatus::Unfinished => 0,
            BackupStatus::Interrupted => 1,
            BackupStatus::Tape => 2,
            BackupStatus::Volume => 3,
            BackupStatus::Event => 4,
        };
        raw.state = match self.state {
            ContextState::Dumping => 0,
            ContextState::Ended => 1,
            ContextState::Deleting => 2,
        };
        let mut bytes = [0; Self::LEN];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// `None`: these bytes are no record.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let raw = RawRecord::ref_from_bytes(bytes).ok()?;
        let has = |flag| raw.flags & flag != 0;
        Some(Self {
            identity: DumpIdentity {
                id: DumpId(raw.dump),
                date: raw.date.get(),
                base_date: raw.base_date.get(),
                level: Level::new(raw.level.into()).ok()?,
            },
            blocking: BlockingFactor::new(raw.blocking.get().into()).ok()?,
            volume: VolumeId(raw.volume),
            begin: TapePosition { file: raw.begin_file.get(), record: raw.begin_record.get() },
            updated: Timestamp { secs: raw.secs.get(), nanos: raw.nanos.get() },
            snapshot_is_own: has(SNAPSHOT_IS_OWN),
            has_offset_map: has(HAS_OFFSET_MAP),
            offset_verify: has(OFFSET_VERIFY),
            restartable: has(RESTARTABLE),
            restart_pass: raw.restart_pass.get(),
            status: match raw.status {
                0 => BackupStatus::Unfinished,
                1 => BackupStatus::Interrupted,
                2 => BackupStatus::Tape,
                3 => BackupStatus::Volume,
                4 => BackupStatus::Event,
                _ => return None,
            },
            state: match raw.state {
                0 => ContextState::Dumping,
                1 => ContextState::Ended,
                2 => ContextState::Deleting,
                _ => return None,
            },
        })
    }
}
