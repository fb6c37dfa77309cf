//! A tape of Debian's dump against the kernel's view of the same files; damage; what is refused.

extern crate std;

use super::{LinuxXattr, LinuxXattrs, XattrError};
use crate::device::volume::PropertyKind;
use crate::limits::NAME_LEN_MAX;
use std::collections::BTreeMap;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Names and values as the kernel tells them.
type Properties = BTreeMap<Vec<u8>, Vec<u8>>;

/// The records of a tape of Debian's dump: inode and content.
fn records() -> Vec<(u32, &'static [u8])> {
    let mut rest: &[u8] = include_bytes!("../../../fixtures/linux-xattr/attributes.bin");
    let mut records = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<8>() {
        let [inode, len] = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|at| u32::from_le_bytes(at.map(|at| head[at])));
        let (content, behind) = behind.split_at(len as usize);
        records.push((inode, content));
        rest = behind;
    }
    records
}

/// What `getfattr` says about the same files. Names are in there as they are, in any bytes.
fn truth() -> BTreeMap<u32, Properties> {
    let mut all = BTreeMap::new();
    let mut inode = 0;
    for line in include_bytes!("../../../fixtures/linux-xattr/attributes.txt").split(|&byte| byte == b'\n') {
        if let Some(number) = line.strip_prefix(b"inode ") {
            inode = str::from_utf8(number).unwrap().parse().unwrap();
        } else if let Some(end) = line.windows(3).position(|bytes| bytes == b"=0x") {
            let digits = str::from_utf8(&line[end + 3..]).unwrap();
            let bytes = (0..digits.len()).step_by(2);
            let value = bytes.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
            let properties: &mut Properties = all.entry(inode).or_default();
            properties.insert(line[..end].to_vec(), value);
        }
    }
    all
}

fn property(xattr: &LinuxXattr<'_>) -> Result<(Vec<u8>, Vec<u8>), XattrError> {
    let mut name = [0; NAME_LEN_MAX];
    let name = match xattr.kind {
        PropertyKind::PosixAccessAcl => b"system.posix_acl_access".as_slice(),
        PropertyKind::PosixDefaultAcl => b"system.posix_acl_default",
        _ => xattr.name(&mut name),
    };
    let mut buf = vec![0xa5; 2 * xattr.value.len()];
    let value = xattr.property_value(&mut buf)?;
    assert_eq!(xattr.property_len(), Ok(value.len()));
    Ok((name.to_vec(), value.to_vec()))
}

#[test]
fn a_tape_of_debian_dump_has_what_the_kernel_had() {
    let mut all: BTreeMap<u32, Properties> = BTreeMap::new();
    let mut forms = [0, 0];
    for (inode, content) in records() {
        forms[usize::from(content[0])] += 1;
        for xattr in LinuxXattrs::new(content) {
            let (name, value) = xattr.and_then(|xattr| property(&xattr)).unwrap();
            let before = all.entry(inode).or_default().insert(name, value);
            assert_eq!(before, None, "inode {inode}: twice");
        }
    }
    assert_eq!(all, truth());
    assert_eq!(all.values().map(BTreeMap::len).sum::<usize>(), 27);
    assert!(forms.iter().all(|&count| count > 3), "both forms: {forms:?}");
}

#[test]
fn flipped_bits_are_found_where_there_is_a_hash() {
    for (inode, content) in records().into_iter().filter(|(_, content)| content[0] == 0) {
        let good: Vec<_> = LinuxXattrs::new(content).collect();
        let mut places = Vec::new();
        let mut at = 32;
        while content[at..at + 4] != [0; 4] {
            places.extend((at + 2..at + 4).chain(at + 8..at + 12));
            at += (16 + usize::from(content[at])).next_multiple_of(4);
        }
        // The hash is only a sum of rotated words: of a value that repeats itself, a part elsewhere may have the same.
        for bit in (0..8 * content.len()).filter(|bit| !places.contains(&(bit / 8))) {
            let mut content = content.to_vec();
            content[bit / 8] ^= 1 << (bit % 8);
            let all: Vec<_> = LinuxXattrs::new(&content).collect();
            assert!(all.len() <= content.len() / 16 + 1, "it ends");
            let told = all.iter().any(|xattr| xattr.and_then(|xattr| property(&xattr)).is_err());
            // The namespace is not in the hash, so a property may be told under another one.
            let same = all.iter().zip(&good).all(|(a, b)| match (a, b) {
                (Ok(a), Ok(b)) => a.suffix == b.suffix && a.value == b.value,
                _ => false,
            });
            assert!(told || (same && all.len() == good.len()), "inode {inode}, bit {bit}: {all:?}");
        }
    }
}

#[test]
fn any_flipped_bit_and_any_cut_is_harmless() {
    for (_, content) in records() {
        for bit in 0..8 * content.len() {
            let mut content = content.to_vec();
            content[bit / 8] ^= 1 << (bit % 8);
            for xattr in LinuxXattrs::new(&content).flatten() {
                let _ = property(&xattr);
            }
        }
        let good: Vec<_> = LinuxXattrs::new(content).flatten().collect();
        for len in 0..content.len() {
            let cut: Vec<_> = LinuxXattrs::new(&content[..len]).flatten().collect();
            assert!(cut.iter().all(|xattr| good.contains(xattr)), "cut at {len}");
        }
    }
}

/// Attributes within an inode, without hashes: index, name, value. Values are put behind the list.
fn body(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
    let mut content = vec![0; 1024];
    content[..4].copy_from_slice(&[1, 0, 2, 0xea]);
    let (mut at, mut value_at) = (4, 1024);
    for (index, name, value) in entries {
        value_at -= value.len();
        content[at] = name.len() as u8;
        content[at + 1] = *index;
        content[at + 2..at + 4].copy_from_slice(&(value_at as u16 - 4).to_le_bytes());
        content[at + 8..at + 12].copy_from_slice(&(value.len() as u32).to_le_bytes());
        content[at + 16..][..name.len()].copy_from_slice(name);
        content[value_at..][..value.len()].copy_from_slice(value);
        at += (16 + name.len()).next_multiple_of(4);
    }
    content
}

fn first(content: &[u8]) -> Result<LinuxXattr<'_>, XattrError> {
    LinuxXattrs::new(content).next().unwrap()
}

#[test]
fn namespaces() {
    let mut buf = [0; NAME_LEN_MAX];
    for (index, name) in
        [(1, "user.n"), (4, "trusted.n"), (5, "lustre.n"), (6, "security.n"), (7, "system.n"), (10, "gnu.n")]
    {
        let content = body(&[(index, b"n", b"v")]);
        let xattr = first(&content).unwrap();
        assert_eq!((xattr.kind, xattr.value), (PropertyKind::Xattr, &b"v"[..]));
        assert_eq!(xattr.name(&mut buf), name.as_bytes());
    }
    for (index, name) in [(0, &b"n"[..]), (7, b"data"), (8, b""), (9, b"c"), (11, b"n"), (255, b"n")] {
        assert_eq!(first(&body(&[(index, name, b"v")])), Err(XattrError::UnknownNamespace { at: 4, index }));
    }
}

#[test]
fn names_that_are_none() {
    for (index, name) in [(1, &b""[..]), (1, b"a\0b"), (2, b"x"), (3, b"x")] {
        assert_eq!(first(&body(&[(index, name, b"v")])), Err(XattrError::BadName { at: 4 }));
    }
    let longest = [b'n'; NAME_LEN_MAX - 5];
    let content = body(&[(1, &longest, b"v")]);
    assert_eq!(first(&content).unwrap().name(&mut [0; NAME_LEN_MAX]).len(), NAME_LEN_MAX);
    assert_eq!(first(&body(&[(1, &[b'n'; 251], b"v")])), Err(XattrError::BadName { at: 4 }));
}

#[test]
fn a_bad_attribute_does_not_hide_the_next() {
    let mut content = body(&[(9, b"c", b"v"), (1, b"a", b"w")]);
    let all: Vec<_> = LinuxXattrs::new(&content).collect();
    assert_eq!(all[0], Err(XattrError::UnknownNamespace { at: 4, index: 9 }));
    assert_eq!(all[1].unwrap().value, b"w");
    content[8] = 77;
    assert_eq!(first(&content), Err(XattrError::ValueNotOnTape { at: 4, inode: 77 }));
    assert_eq!(LinuxXattrs::new(&content).count(), 2);
}

#[test]
fn values_out_of_bounds() {
    let change = |at: usize, bytes: &[u8]| {
        let mut content = body(&[(1, b"abc", b"value")]);
        content[at..at + bytes.len()].copy_from_slice(bytes);
        first(&content).map(|xattr| xattr.value.len())
    };
    let outside = Err(XattrError::ValueOutside { at: 4 });
    // Offsets count from 4; the value is at 1019, and the entry ends at 24.
    assert_eq!(change(6, &1015u16.to_le_bytes()), Ok(5));
    assert_eq!(change(6, &1016u16.to_le_bytes()), outside);
    assert_eq!(change(6, &u16::MAX.to_le_bytes()), outside);
    assert_eq!(change(6, &20u16.to_le_bytes()), Ok(5));
    assert_eq!(change(6, &19u16.to_le_bytes()), outside);
    assert_eq!(change(6, &0u16.to_le_bytes()), outside);
    assert_eq!(change(12, &6u32.to_le_bytes()), outside);
    assert_eq!(change(12, &u32::MAX.to_le_bytes()), outside);
    assert_eq!(change(6, &[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(0), "an empty value is nowhere");
    assert_eq!(change(16, &1u32.to_le_bytes()), Err(XattrError::BadHash { at: 4 }));
}

#[test]
fn lists_that_are_none() {
    for content in [&[][..], &[0xea], &[0; 1024], b"\x00\x00\x03\xea"] {
        let found = content.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let all: Vec<_> = LinuxXattrs::new(content).collect();
        assert_eq!(all, [Err(XattrError::BadMagic { found })]);
    }
    for (header_len, magic) in [(32, b"\x00\x00\x02\xea"), (4, b"\x01\x00\x02\xea")] {
        let mut content = [0; 36];
        content[..4].copy_from_slice(magic);
        for len in 4..36 {
            let all: Vec<_> = LinuxXattrs::new(&content[..len]).collect();
            let cut = [Err(XattrError::Cut { at: header_len })];
            assert_eq!(all, if len < header_len + 4 { &cut[..] } else { &[] }, "{len}");
        }
    }
    // A list without an end.
    let content =
        [&b"\x01\x00\x02\xea"[..], &b"\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0a\0\0\0".repeat(9)].concat();
    let all: Vec<_> = LinuxXattrs::new(&content).collect();
    assert_eq!(all.len(), 10);
    assert_eq!(all[9], Err(XattrError::Cut { at: 184 }));
    assert!(all[..9].iter().all(Result::is_ok));
}

fn acl(entries: &[u8]) -> Result<Vec<u8>, XattrError> {
    let value = [&[1, 0, 0, 0], entries].concat();
    let acl = LinuxXattr { kind: PropertyKind::PosixAccessAcl, namespace: "", suffix: b"", value: &value };
    acl.property_value(&mut [0xa5; 64]).map(<[u8]>::to_vec)
}

#[test]
fn acls_are_converted() {
    let none = [0xff; 4];
    let expected: Vec<u8> =
        [&[2, 0, 0, 0][..], &[1, 0, 7, 0], &none, &[2, 0, 5, 0, 0x70, 0x11, 1, 0], &[0x20, 0, 0, 0], &none]
            .concat();
    assert_eq!(acl(&[1, 0, 7, 0, 2, 0, 5, 0, 0x70, 0x11, 1, 0, 0x20, 0, 0, 0]), Ok(expected));
    assert_eq!(acl(&[]), Ok(vec![2, 0, 0, 0]));
}

#[test]
fn acls_that_are_none() {
    for entries in [
        &[1, 0, 7][..],
        &[1, 0, 8, 0],
        &[3, 0, 7, 0],
        &[0, 0, 7, 0],
        &[2, 0, 7, 0],
        &[2, 0, 7, 0, 1, 0, 0],
        &[1, 0, 7, 0, 1],
    ] {
        assert_eq!(acl(entries), Err(XattrError::BadAcl), "{entries:?}");
    }
    assert_eq!(acl(&[1, 0, 7, 0].repeat(8)), Err(XattrError::BufferTooSmall { needed: 68 }));
    for value in [&[][..], &[1, 0, 0], &[2, 0, 0, 0], &[0, 0, 0, 0]] {
        let acl = LinuxXattr { kind: PropertyKind::PosixDefaultAcl, namespace: "", suffix: b"", value };
        assert_eq!(acl.property_value(&mut [0; 64]), Err(XattrError::BadAcl));
        assert_eq!(acl.property_len(), Err(XattrError::BadAcl));
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let message = std::format!("{}", XattrError::ValueNotOnTape { at: 32, inode: 77 });
    assert_eq!(
        message,
        String::from("the value of the attribute at 32 is in inode 77, which is not on the tape")
    );
}
