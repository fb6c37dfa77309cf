//! The NT values were made by Samba, as `tests/fixtures/samba/make.py` of the repository makes them.

extern crate std;

use super::*;
use std::vec::Vec;

const NT_V1: &str = concat!(
    "0100010000000200010014801c0000003800000054000000700000000105000000000005150000000100000002000000",
    "03000000e80300000105000000000005150000000100000002000000030000000102000002001c000100000002001400",
    "ff011f00010100000000000100000000020050000200000000002400ff011f0001050000000000051500000001000000",
    "0200000003000000d007000000002400ff011f00010500000000000515000000010000000200000003000000d1070000",
);

const NT_V2: &str = concat!(
    "0200020000000200040002000000000000000000000000000000000001001480300000004c0000006800000084000000",
    "010500000000000515000000010000000200000003000000e80300000105000000000005150000000100000002000000",
    "030000000102000002001c000100000002001400ff011f00010100000000000100000000020050000200000000002400",
    "ff011f00010500000000000515000000010000000200000003000000d007000000002400ff011f000105000000000005",
    "15000000010000000200000003000000d1070000",
);

const NT_V3: &str = concat!(
    "0300030000000200040002000100000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021",
    "22232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f00000100148064000000800000009c000000",
    "b8000000010500000000000515000000010000000200000003000000e803000001050000000000051500000001000000",
    "02000000030000000102000002001c000100000002001400ff011f000101000000000001000000000200500002000000",
    "00002400ff011f00010500000000000515000000010000000200000003000000d007000000002400ff011f0001050000",
    "0000000515000000010000000200000003000000d1070000",
);

const NT_V4: &str = concat!(
    "0400040000000200040002000100000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021",
    "22232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f706f7369785f61636c0000005af64cf5d401",
    "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0dfdedddcdbdad9d8d7d6d5d4d3d2d1d0",
    "cfcecdcccbcac9c8c7c6c5c4c3c2c1c001001480b4000000d0000000ec00000008010000010500000000000515000000",
    "010000000200000003000000e80300000105000000000005150000000100000002000000030000000102000002001c00",
    "0100000002001400ff011f00010100000000000100000000020050000200000000002400ff011f000105000000000005",
    "15000000010000000200000003000000d007000000002400ff011f000105000000000005150000000100000002000000",
    "03000000d1070000",
);

const NT_V4_NO_LISTS: &str = concat!(
    "0400040000000200040002000100000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021",
    "22232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f706f7369785f61636c0000005af64cf5d401",
    "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0dfdedddcdbdad9d8d7d6d5d4d3d2d1d0",
    "cfcecdcccbcac9c8c7c6c5c4c3c2c1c001000080b4000000d00000000000000000000000010500000000000515000000",
    "010000000200000003000000e803000001050000000000051500000001000000020000000300000001020000",
);

const NT_V1_SACL_LONGER: &str = concat!(
    "0100010000000200010014801c0000003800000054000000980000000105000000000005150000000100000002000000",
    "03000000e803000001050000000000051500000001000000020000000300000001020000020044000300000002001400",
    "ff011f0001010000000000010000000002001400ff011f0001010000000000010000000002001400ff011f0001010000",
    "000000010000000002002c000100000000002400ff011f00010500000000000515000000010000000200000003000000",
    "d0070000",
);

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// In one piece, and byte by byte.
fn count(kind: PropertyKind, value: &[u8]) -> Option<u32> {
    let mut counter = AclCounter::new(kind, value.len() as u32).unwrap();
    counter.take(value);
    let mut slow = AclCounter::new(kind, value.len() as u32).unwrap();
    value.iter().for_each(|byte| slow.take(&[*byte]));
    assert_eq!(counter.entries(), slow.entries());
    counter.entries()
}

fn posix(entries: usize) -> Vec<u8> {
    let mut value = POSIX_VERSION.to_le_bytes().to_vec();
    value.resize(4 + 8 * entries, 7);
    value
}

fn nfs4(who: &[&str]) -> Vec<u8> {
    let mut value = (who.len() as u32).to_be_bytes().to_vec();
    for who in who {
        value.extend([0; 12]);
        value.extend((who.len() as u32).to_be_bytes());
        value.extend(who.as_bytes());
        value.resize(value.len().next_multiple_of(4), 0);
    }
    value
}

#[test]
fn descriptors_of_samba() {
    for value in [NT_V1, NT_V2, NT_V3, NT_V4] {
        assert_eq!(count(PropertyKind::NtDescriptor, &bytes(value)), Some(2));
    }
    assert_eq!(count(PropertyKind::NtDescriptor, &bytes(NT_V4_NO_LISTS)), Some(0));
    assert_eq!(count(PropertyKind::NtDescriptor, &bytes(NT_V1_SACL_LONGER)), Some(3));
}

#[test]
fn where_descriptors_begin() {
    for (value, at) in [(NT_V1, 8), (NT_V2, 28), (NT_V3, 80), (NT_V4, 160), (NT_V4_NO_LISTS, 160)] {
        let value = bytes(value);
        assert_eq!(descriptor_at(&value), Some(at));
        for len in 0..at + 20 {
            assert_eq!(descriptor_at(&value[..len]), None);
        }
    }
}

#[test]
fn other_acls() {
    for entries in [0, 3, 1024, 1025, 8191] {
        assert_eq!(count(PropertyKind::PosixAccessAcl, &posix(entries)), Some(entries as u32));
        assert_eq!(count(PropertyKind::PosixDefaultAcl, &posix(entries)), Some(entries as u32));
    }
    assert_eq!(count(PropertyKind::Nfs4Acl, &nfs4(&[])), Some(0));
    assert_eq!(count(PropertyKind::Nfs4Acl, &nfs4(&["OWNER@", "GROUP@", "", "alice@example.org"])), Some(4));
    assert!(AclCounter::new(PropertyKind::Xattr, 100).is_none());
    assert!(AclCounter::new(PropertyKind::DosAttributes, 100).is_none());
}

#[test]
fn what_is_no_acl_has_no_number_of_entries() {
    let kinds = [PropertyKind::PosixAccessAcl, PropertyKind::Nfs4Acl, PropertyKind::NtDescriptor];
    for kind in kinds {
        for garbage in [&b""[..], b"x", b"garbage", &[0xff; 400], &[1; 400], &[4; 90]] {
            assert_eq!(count(kind, garbage), None, "{kind:?} {garbage:?}");
        }
    }
    let mut other_version = posix(3);
    other_version[0] = 3;
    assert_eq!(count(PropertyKind::PosixAccessAcl, &other_version), None);
    assert_eq!(count(PropertyKind::PosixAccessAcl, &posix(3)[..27]), None);
    let whole = nfs4(&["OWNER@", "GROUP@"]);
    for len in 0..whole.len() {
        assert_eq!(count(PropertyKind::Nfs4Acl, &whole[..len]), None);
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(count(PropertyKind::Nfs4Acl, &longer), None);
}

/// A list that claims more entries than it has room for is garbage, and not refused for its length.
#[test]
fn lists_that_contradict_themselves() {
    let whole = bytes(NT_V1);
    let dacl = u32::from_le_bytes(whole[24..28].try_into().unwrap()) as usize;
    let with = |at: usize, byte: u8| {
        let mut value = whole.clone();
        value[at] = byte;
        count(PropertyKind::NtDescriptor, &value)
    };
    assert_eq!(with(dacl + 4, 200), None, "entries without room");
    assert_eq!(with(dacl + 3, 1), None, "longer than the value");
    assert_eq!(with(24, 12), None, "before the descriptor");
    assert_eq!(with(26, 1), None, "behind the value");
    assert_eq!(with(8, 2), None, "another revision");
    assert_eq!(with(2, 4), None, "two versions");
    for len in 0..whole.len() {
        assert_eq!(count(PropertyKind::NtDescriptor, &whole[..len]), None);
    }
}

/// No byte of a value leads astray, whatever it becomes.
#[test]
fn any_damage_is_survived() {
    for value in [NT_V1, NT_V2, NT_V3, NT_V4] {
        let value = bytes(value);
        for at in 0..value.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = value.clone();
                damaged[at] = byte;
                let _ = count(PropertyKind::NtDescriptor, &damaged);
            }
        }
    }
}
