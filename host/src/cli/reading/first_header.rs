//! The first header of a dump: what it says, and the identity of the dump, which others than ours do not have.

use super::RECORD_LEN_MAX;
use super::sources::go_to;
use super::tape_file::find_file;
use crate::checksum::HostCrc32c;
use crate::cli::exit::CliError;
use crate::cli::raw::From;
use crate::state::StateDir;
use crate::tape::{Mode, Tape, TapeError, TapeSpec, open};
use tapedump_core::device::tape::{TapeDevice, TapePosition, TapeRead};
use tapedump_core::device::volume::VolumeNames;
use tapedump_core::device::{DeviceError, ErrorKind};
use tapedump_core::engine::restore::DumpInfo;
use tapedump_core::limits::{READ_ERRORS_MAX, SEARCH_LEN_MAX};
use tapedump_core::record::header::{Header, HeaderRepr, TapeBlock};
use tapedump_core::units::{DumpId, TAPE_BLOCK_LEN, VolumeId};

/// The first header of a dump, and the names in it.
#[derive(Clone, Debug)]
pub struct FirstHeader {
    pub repr: HeaderRepr,
    pub names: VolumeNames,
}

impl FirstHeader {
    /// The dump's identity, made up where it is not one of ours.
    pub fn id(&self) -> DumpId {
        let HeaderRepr { date, base_date, level, .. } = self.repr;
        let own = self.repr.extension.map(|extension| extension.dump_id);
        own.unwrap_or_else(|| made_up_id(date, base_date, level, &self.names))
    }
}

/// Reads the first header behind the place where the tape stands, up to behind the record with it. Where that is not a dump's
/// very first, any later one tells the same.
pub fn first_header(tape: &mut Box<dyn Tape>) -> Result<Option<FirstHeader>, TapeError> {
    let mut record = vec![0; RECORD_LEN_MAX];
    let mut failed = None;
    let (mut searched, mut errors) = (0, 0);
    while searched <= SEARCH_LEN_MAX && errors <= READ_ERRORS_MAX {
        let len = match tape.read(&mut record) {
            Ok(TapeRead::Record(len)) => len,
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Medium => {
                failed = Some(error);
                errors += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        searched += len as u64;
        let blocks = record.get(..len).unwrap_or_default().as_chunks::<TAPE_BLOCK_LEN>().0;
        if let Some(found) = blocks.iter().find_map(header_in) {
            return Ok(Some(found));
        }
    }
    failed.map_or(Ok(None), Err)
}

fn header_in(block: &TapeBlock) -> Option<FirstHeader> {
    let header = Header::new(block);
    let repr = header.parse::<HostCrc32c>(header.detect().ok()?).ok()?;
    Some(FirstHeader { repr, names: header.names() })
}

/// As [`first_header`], of a tape that stands at `at`, and does so afterwards.
pub fn peek(tape: &mut Box<dyn Tape>, at: TapePosition) -> Result<Option<FirstHeader>, TapeError> {
    let first = first_header(tape)?;
    go_to(tape, at)?;
    Ok(first)
}

/// The dump that the arguments name, when the tape that it is on was looked at and closed again.
pub struct Named {
    pub spec: TapeSpec,
    pub file: u32,
    /// Bytes of its tape file, where that is known.
    pub len: Option<u64>,
    pub first: FirstHeader,
}

impl Named {
    /// Looks at it; `purpose` and `advice` are of what is said about a tape that cannot go back.
    pub fn find(from: &From, state: &StateDir, purpose: &str, advice: &str) -> Result<Self, CliError> {
        let library = state.library();
        let spec = match from.tape.first() {
            Some(tape) => TapeSpec::resolve(tape, &library, Mode::Read)?,
            None => TapeSpec::Virtual(library.newest()?.path),
        };
        let mut tape = open(&spec, Mode::Read)?;
        if !tape.capabilities().can_position {
            return Err(CliError::failed(format!(
                "{spec}: {purpose} that can go back, and this one cannot{advice}"
            )));
        }
        let len = find_file(&spec, &mut tape, from.file)?.map(|(_, len)| len);
        let at = tape.position()?;
        let first = peek(&mut tape, at)?
            .ok_or_else(|| CliError::failed(format!("{spec}: this tape holds no dump")))?;
        Ok(Self { spec, file: at.file, len, first })
    }
}

/// The identity of a dump.
pub fn id_of(info: &DumpInfo) -> DumpId {
    info.id.unwrap_or_else(|| made_up_id(info.date, info.base_date, info.level, &info.names))
}

/// The identity of another program's dump: the same whenever it is found.
fn made_up_id(date: u32, base_date: u32, level: u32, names: &VolumeNames) -> DumpId {
    let numbers = [date, base_date, level].map(u32::to_be_bytes);
    let [path, device, host] = [&names.path, &names.device, &names.host].map(|name| until_nul(name));
    DumpId(made_up(&[b"dump", numbers.as_flattened(), path, b"\0", device, b"\0", host]))
}

/// The identity of a volume of which only the names in headers are known.
pub fn made_up_volume(names: &VolumeNames) -> VolumeId {
    VolumeId(made_up(&[b"volume", until_nul(&names.path), b"\0", until_nul(&names.host)]))
}

/// FNV-1a of 128 bits, as a UUID of version 8, whose bits mean what its maker says.
fn made_up(parts: &[&[u8]]) -> [u8; 16] {
    const START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().copied().flatten();
    let hash = bytes.fold(START, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    let mut id = hash.to_be_bytes();
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}

pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &[u8], device: &[u8], host: &[u8]) -> VolumeNames {
        let mut names = VolumeNames::default();
        for (to, from) in [(&mut names.path, path), (&mut names.device, device), (&mut names.host, host)] {
            to[..from.len()].copy_from_slice(from);
        }
        names
    }

    #[test]
    fn made_up_identities_are_stable_and_tell_dumps_apart() {
        let id = made_up_id(5, 0, 0, &names(b"/home", b"/dev/sda1", b"vm"));
        assert_eq!(id.to_string(), "6ed8d3f7-5288-8622-b00e-6d5fd8970faf");
        let others = [
            made_up_id(6, 0, 0, &names(b"/home", b"/dev/sda1", b"vm")),
            made_up_id(5, 1, 0, &names(b"/home", b"/dev/sda1", b"vm")),
            made_up_id(5, 0, 1, &names(b"/home", b"/dev/sda1", b"vm")),
            made_up_id(5, 0, 0, &names(b"/home/", b"dev/sda1", b"vm")),
            made_up_id(5, 0, 0, &names(b"/home", b"/dev/sda", b"1vm")),
        ];
        assert!(others.iter().all(|other| *other != id));
        // A volume is the same whatever device it is dumped from.
        let volume = made_up_volume(&names(b"/home", b"/dev/sda1", b"vm"));
        assert_eq!(made_up_volume(&names(b"/home", b"/dev/snapshot", b"vm")), volume);
        assert_ne!(made_up_volume(&names(b"/hom", b"/dev/sda1", b"evm")), volume);
        assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (8, 2));
    }
}
