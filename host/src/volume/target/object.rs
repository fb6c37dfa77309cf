//! Makes one object after the other: from its creation to the moment it has all its attributes.
//!
//! One system call less for each file is worth more here than anything else, so that nothing is set that the
//! object has already: a plain file of the caller's costs opening, writing, setting its times and closing.
//!
//! Order of the last steps: length, owner (drops set-id bits and capabilities), permissions, then the ACL (which
//! holds part of the permissions) and capabilities, and the times last.

use super::alignment::Alignment;
use super::caller::{Caller, Locked};
use super::crossing::Crossing;
use super::directory::{ACL_ACCESS, Directory, check_name, path_of};
use super::handle::Handle;
use super::make::{State, is_same, open_path, replacing};
use super::property::{Complete, Properties, acl_permissions};
use super::restricted::Restrictions;
use super::setting::{alignment_for, property_error, set_property};
use crate::volume::VolumeError;
use crate::volume::carrier::{attribute_of, property_of};
use crate::volume::failures::shortened;
use rustix::fs::{self, AtFlags};
use rustix::io::{self, Errno};
use std::path::PathBuf;
use std::sync::Arc;
use tapedump_core::device::ErrorKind;
use tapedump_core::device::volume::{Attributes, FailedPart, Failure, Kind, PropertyKind};
use tapedump_core::limits::SYMLINK_LEN_MAX;
use tapedump_core::units::Ino;

/// Makes objects; one at a time is open.
#[derive(Debug)]
pub(crate) struct ObjectWriter {
    caller: Arc<Caller>,
    restrictions: Arc<Restrictions>,
    alignment: Arc<Alignment>,
    open: Option<Open>,
    /// Name of the open object where it is still needed: of a link, which is made last.
    name: Vec<u8>,
    link_target: Vec<u8>,
    properties: Properties,
    failures: Vec<Failure<VolumeError>>,
}

#[derive(Debug)]
struct Open {
    ino: Ino,
    kind: Kind,
    /// Where it is being made. `None`: it was there before.
    made_in: Option<Arc<Directory>>,
    /// `None`: a link that is not made yet.
    handle: Option<Handle>,
    now: State,
    /// End of what was written.
    end: u64,
    /// The directory as others know it, when that is what is open.
    known: Option<Arc<Directory>>,
    /// Of what was there before: the directory it is in.
    found_in: Option<Arc<Directory>>,
    /// What becomes of its permissions where it is.
    crossing: Option<Arc<Crossing>>,
    /// It came with an NT descriptor.
    has_descriptor: bool,
}

impl ObjectWriter {
    pub(super) fn new(
        caller: Arc<Caller>,
        restrictions: Arc<Restrictions>,
        alignment: Arc<Alignment>,
    ) -> Self {
        Self {
            caller,
            restrictions,
            alignment,
            open: None,
            name: Vec::new(),
            link_target: Vec::new(),
            properties: Properties::default(),
            failures: Vec::new(),
        }
    }

    /// Failures of objects closed so far.
    pub(crate) fn failures(&mut self) -> &mut Vec<Failure<VolumeError>> {
        &mut self.failures
    }

    /// Lets a failure wait.
    pub(crate) fn fail(&mut self, failure: Failure<VolumeError>) {
        self.failures.push(shortened(failure, self.failures.len()));
    }

    /// See [`create`](tapedump_core::device::volume::TargetVolume::create).
    pub(crate) fn create(
        &mut self,
        directory: &Arc<Directory>,
        name: &[u8],
        ino: Ino,
        attributes: &Attributes,
    ) -> Result<(), VolumeError> {
        self.discard();
        let make = || {
            check_name(name)?;
            match attributes.kind {
                Kind::Directory => Err(Errno::INVAL),
                Kind::File => self.make_file(directory, name, ino, attributes).map(Some),
                Kind::Symlink => Ok(None),
                _ => self.caller.make_node(directory, name, attributes).map(Some),
            }
        };
        let made = make().map_err(|errno| VolumeError::system("create", directory.path_of(name), errno))?;
        let nobody = State { uid: 0, gid: 0, permissions: None, acl: false };
        let (handle, now) = match made {
            Some((handle, now)) => (Some(handle), now),
            None => {
                self.link_target.clear();
                (None, nobody)
            }
        };
        self.name.clear();
        self.name.extend_from_slice(name);
        let made_in = Some(Arc::clone(directory));
        self.open = Some(Open {
            ino,
            kind: attributes.kind,
            made_in,
            handle,
            now,
            end: 0,
            known: None,
            found_in: None,
            crossing: directory.crossing().cloned(),
            has_descriptor: false,
        });
        Ok(())
    }

    /// Makes a file; the data of a LUN that is there is replaced in its place.
    fn make_file(
        &self,
        directory: &Arc<Directory>,
        name: &[u8],
        ino: Ino,
        attributes: &Attributes,
    ) -> io::Result<(Handle, State)> {
        let made = self
            .caller
            .make_file(directory, name, attributes, || self.restrictions.open_lun(directory, name, ino))?;
        if let Handle::File(file) = &made.0 {
            self.restrictions.made(file, directory, name, ino);
        }
        Ok(made)
    }

    /// See [`reopen`](tapedump_core::device::volume::TargetVolume::reopen). An empty name stands for the directory
    /// itself; `known` is what is held of the object when it is a directory.
    pub(crate) fn reopen(
        &mut self,
        directory: &Arc<Directory>,
        name: &[u8],
        ino: Ino,
        known: Option<Arc<Directory>>,
    ) -> Result<(), VolumeError> {
        self.discard();
        self.name.clear();
        self.name.extend_from_slice(name);
        let open = || {
            let name = if name.is_empty() { &b"."[..] } else { check_name(name).map(|()| name)? };
            let found = open_path(directory, name)?;
            match self.caller.may_have_made(&found.0)? {
                true => Ok(found),
                false => Err(Errno::STALE),
            }
        };
        let (handle, kind, now) = open().map_err(|errno| {
            let path = directory.path_of(name);
            match errno {
                Errno::STALE => VolumeError::own(
                    "open",
                    path,
                    ErrorKind::Changed,
                    "something older has its name now, and stays as it is",
                ),
                errno => VolumeError::system("open", path, errno),
            }
        })?;
        // The directory itself is where it was.
        let crossing = directory.crossing().filter(|_| !name.is_empty()).cloned();
        self.open = Some(Open {
            ino,
            kind,
            made_in: None,
            handle: Some(handle),
            now,
            end: 0,
            known,
            found_in: Some(Arc::clone(directory)),
            crossing,
            has_descriptor: false,
        });
        Ok(())
    }

    /// See [`write`](tapedump_core::device::volume::TargetVolume::write).
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
        let Some(open) = &mut self.open else { return Err(no_object("write")) };
        let written = match (&open.handle, open.kind) {
            (Some(Handle::File(fd)), Kind::File) => write_all(fd, offset, data),
            (None, Kind::Symlink) => {
                let fits = self.link_target.len() + data.len() <= SYMLINK_LEN_MAX;
                match usize::try_from(offset) {
                    Ok(offset) if offset == self.link_target.len() && fits => {
                        self.link_target.extend_from_slice(data);
                        Ok(())
                    }
                    _ => Err(Errno::NAMETOOLONG),
                }
            }
            _ => Err(Errno::INVAL),
        };
        open.end = open.end.max(offset.saturating_add(data.len() as u64));
        written.map_err(|errno| VolumeError::system("write", open.path(&self.name), errno))
    }

    /// See [`begin_property`](tapedump_core::device::volume::TargetVolume::begin_property). What cannot be set
    /// is told as a failure.
    pub(crate) fn begin_property(
        &mut self,
        kind: PropertyKind,
        name: &[u8],
        value_len: u32,
    ) -> Result<(), VolumeError> {
        let Some(open) = &self.open else { return Err(no_object("set an attribute of")) };
        // Whatever it is called on the tape, it is what its name here makes of it.
        let (found, name) = if kind == PropertyKind::Xattr { property_of(name) } else { (kind, name) };
        let is_elsewhere = match found {
            PropertyKind::Qtree => found != kind || open.kind != Kind::Directory,
            PropertyKind::Lun => found != kind || open.kind != Kind::File,
            _ => false,
        };
        if is_elsewhere {
            const REASON: &str = "what makes a qtree or a LUN is no attribute of this object";
            let path = open.path(&self.name);
            let error = VolumeError::own("set an attribute of", path, ErrorKind::Invalid, REASON);
            let failure = Failure { ino: open.ino, what: FailedPart::Property(kind), error };
            // Without a name its value is skipped.
            let _ = self.properties.announce(PropertyKind::Xattr, b"", value_len);
            self.fail(failure);
            return Ok(());
        }
        let kind = found;
        if let Err(errno) = self.properties.announce(kind, name, value_len) {
            self.fail_property(kind, name, errno);
        } else if value_len == 0 {
            self.take_property(&[]);
        }
        Ok(())
    }

    /// See [`write_property`](tapedump_core::device::volume::TargetVolume::write_property).
    pub(crate) fn write_property(&mut self, piece: &[u8]) -> Result<(), VolumeError> {
        if self.open.is_none() {
            return Err(no_object("set an attribute of"));
        }
        self.take_property(piece);
        Ok(())
    }

    fn take_property(&mut self, piece: &[u8]) {
        let Some(open) = &mut self.open else { return };
        let Some(property) = self.properties.take(piece) else { return };
        let (kind, name) = (property.kind, property.name.to_vec());
        open.has_descriptor |= kind == PropertyKind::NtDescriptor;
        // Whether it is set depends on what else the object has.
        let waits = kind == PropertyKind::NtDescriptor && open.crossing.is_some();
        let set = match &open.handle {
            Some(handle) if kind == PropertyKind::Lun && open.kind == Kind::File => {
                let directory = open.made_in.as_ref().or(open.found_in.as_ref());
                let place = directory.map(|directory| (directory, self.name.as_slice()));
                self.restrictions.take_lun(open.ino, handle, place, property.value)
            }
            Some(handle) if kind == PropertyKind::VmAlignment => {
                match alignment_for(&self.alignment, open.kind, &property) {
                    Some(property) => set_property(&self.caller, handle, &property),
                    None => {
                        self.restrictions.note_unaligned(open.kind);
                        Ok(())
                    }
                }
            }
            Some(handle) if !property.comes_late() && !waits => set_property(&self.caller, handle, &property),
            _ if self.properties.hold() => Ok(()),
            _ => Err(Errno::TOOBIG),
        };
        if let Err(errno) = set {
            self.fail_property(kind, &name, errno);
        }
    }

    fn fail_property(&mut self, kind: PropertyKind, name: &[u8], errno: Errno) {
        let Some(open) = &self.open else { return };
        let error = property_error(open.path(&self.name), kind, name, errno);
        self.fail(Failure { ino: open.ino, what: FailedPart::Property(kind), error });
    }

    /// See [`finish`](tapedump_core::device::volume::TargetVolume::finish). Failures are told one by one.
    pub(crate) fn finish(&mut self, attributes: &Attributes) {
        let Some(mut open) = self.open.take() else { return };
        let ino = open.ino;
        if open.kind != attributes.kind {
            let path = open.path(&self.name);
            let error =
                VolumeError::own("restore", path, ErrorKind::Changed, "it is another kind of object now");
            self.fail(Failure { ino, what: FailedPart::Attributes, error });
        } else if let Err(error) = self.make_link(&mut open) {
            self.fail(Failure { ino, what: FailedPart::Create, error });
        } else if let Some(handle) = open.handle.take() {
            self.complete(open, handle, attributes);
        }
        self.properties.clear();
    }

    /// Makes the symbolic link, if that is what is open.
    fn make_link(&self, open: &mut Open) -> Result<(), VolumeError> {
        let (None, Some(directory)) = (&open.handle, &open.made_in) else { return Ok(()) };
        let make = || {
            replacing(directory, &self.name, || {
                fs::symlinkat(self.link_target.as_slice(), directory, self.name.as_slice())
            })?;
            match open_path(directory, &self.name)? {
                (handle, Kind::Symlink, now) if handle.stat()?.st_nlink == 1 => Ok((handle, now)),
                _ => Err(Errno::LOOP),
            }
        };
        let (handle, now) =
            make().map_err(|errno| VolumeError::system("create", directory.path_of(&self.name), errno))?;
        (open.handle, open.now) = (Some(handle), now);
        Ok(())
    }

    /// Gives the object everything it does not have yet.
    fn complete(&mut self, open: Open, handle: Handle, attributes: &Attributes) {
        if open.kind == Kind::File {
            self.restrictions.finished(open.ino, attributes.size);
        }
        if let Handle::File(fd) = &handle
            && open.end != attributes.size
            && let Err(errno) = fs::ftruncate(fd, attributes.size)
        {
            let error = VolumeError::system("set the length of", path_of(handle.fd(), b""), errno);
            self.fail(Failure { ino: open.ino, what: FailedPart::Data, error });
        }
        let crossed = self.cross(&open, &handle).map(|permissions| Attributes { permissions, ..*attributes });
        let attributes = crossed.as_ref().unwrap_or(attributes);
        let (wanted, owned) = self.set_owner(&open, &handle, attributes);
        let locks_out = open.kind == Kind::Directory && !self.caller.is_superuser() && wanted & 0o100 == 0;
        let permitted = match open.kind {
            // A link has none of its own.
            Kind::Symlink => {
                self.set_held(open.ino, &handle);
                Ok(())
            }
            _ => self.set_permissions(&open, &handle, if locks_out { wanted | 0o700 } else { wanted }),
        };
        let timed = handle.set_times(attributes);
        let steps =
            [("set the owner of", owned), ("set the permissions of", permitted), ("set the times of", timed)];
        if let Some((operation, errno)) = steps.into_iter().find_map(|(step, done)| Some((step, done.err()?)))
        {
            let error = VolumeError::system(operation, path_of(handle.fd(), b""), errno);
            self.fail(Failure { ino: open.ino, what: FailedPart::Attributes, error });
        }
        if let Some(known) = &open.known {
            // Its set-group-id bit or default ACL may be another now.
            known.set_birth(None);
        }
        if locks_out {
            let locked = Locked { ino: open.ino, handle, permissions: wanted };
            if let Err(locked) = self.caller.lock_later(locked) {
                self.lock(locked);
            }
        }
    }

    /// Lets permissions follow the style of the qtree that the object comes into. Gives the permission bits that it is to
    /// have instead of its own.
    fn cross(&mut self, open: &Open, handle: &Handle) -> Option<u16> {
        match open.crossing.as_deref()? {
            Crossing::IntoUnix { default_mode } => {
                let only_nt = self.properties.holds(PropertyKind::NtDescriptor)
                    && !self.properties.holds(PropertyKind::PosixAccessAcl);
                if only_nt {
                    self.properties.drop_held(PropertyKind::NtDescriptor);
                }
                only_nt.then_some(*default_mode)
            }
            Crossing::IntoNtfs { default } => {
                if !open.has_descriptor && matches!(open.kind, Kind::File | Kind::Directory) {
                    let name = attribute_of(PropertyKind::NtDescriptor, b"");
                    let property =
                        Complete { kind: PropertyKind::NtDescriptor, name: name.as_ref(), value: default };
                    if let Err(errno) = set_property(&self.caller, handle, &property) {
                        let path = path_of(handle.fd(), b"");
                        let error = property_error(path, property.kind, property.name, errno);
                        self.fail(Failure {
                            ino: open.ino,
                            what: FailedPart::Property(property.kind),
                            error,
                        });
                    }
                }
                None
            }
        }
    }

    /// Gives the object its owner and tells the permissions it may have then: set-id bits speak of an owner, and
    /// are not for another one.
    fn set_owner(&self, open: &Open, handle: &Handle, attributes: &Attributes) -> (u16, io::Result<()>) {
        let (given, owned) = self.caller.give(handle, (open.now.uid, open.now.gid), attributes);
        let mut wanted = attributes.permissions & 0o7777;
        if !given.uid {
            wanted &= !0o4000;
        }
        if !given.gid {
            wanted &= !0o2000;
        }
        (wanted, owned)
    }

    /// Sets permission bits and the ACL that takes part in them, and the other properties that waited.
    fn set_permissions(&mut self, open: &Open, handle: &Handle, wanted: u16) -> io::Result<()> {
        // Set-id bits there were may be gone with the former owner.
        let now = open.now.permissions.filter(|bits| bits & 0o6000 == 0);
        let acl =
            self.properties.held().find(Complete::is_access_acl).and_then(|acl| acl_permissions(acl.value));
        if open.now.acl && acl.is_none() {
            handle.remove_xattr(ACL_ACCESS)?;
        }
        let by_acl = acl.is_some_and(|acl| {
            acl.with_acl == wanted & 0o777 && now.is_some_and(|now| now & 0o7000 == wanted & 0o7000)
        });
        let permitted = if by_acl || now == Some(wanted) { Ok(()) } else { handle.set_permissions(wanted) };
        let acl_is_set = self.set_held(open.ino, handle);
        match acl {
            Some(acl) if !acl_is_set => {
                handle.remove_xattr(ACL_ACCESS)?;
                handle.set_permissions(wanted & !0o777 | acl.without_acl & wanted)
            }
            _ => permitted,
        }
    }

    /// Sets the properties that waited; tells whether no access ACL among them failed.
    fn set_held(&mut self, ino: Ino, handle: &Handle) -> bool {
        let mut acl_is_set = true;
        for property in self.properties.held() {
            if let Err(errno) = set_property(&self.caller, handle, &property) {
                acl_is_set &= !property.is_access_acl();
                let error = property_error(path_of(handle.fd(), b""), property.kind, property.name, errno);
                let failure = Failure { ino, what: FailedPart::Property(property.kind), error };
                self.failures.push(shortened(failure, self.failures.len()));
            }
        }
        acl_is_set
    }

    /// Gives the directories that waited their permissions; nothing is to be reached through them any more.
    pub(crate) fn lock_directories(&mut self) {
        for locked in self.caller.take_locked() {
            self.lock(locked);
        }
    }

    fn lock(&mut self, locked: Locked) {
        if let Err(errno) = locked.handle.set_permissions(locked.permissions) {
            let path = path_of(locked.handle.fd(), b"");
            let error = VolumeError::system("set the permissions of", path, errno);
            self.fail(Failure { ino: locked.ino, what: FailedPart::Attributes, error });
        }
    }

    /// See [`release`](tapedump_core::device::volume::TargetVolume::release). What was made only now gets none of the
    /// properties that speak of a whole object, and of a link, nothing is there.
    pub(crate) fn release(&mut self) {
        if let Some(open) = self.open.take()
            && open.made_in.is_none()
            && let Some(handle) = &open.handle
        {
            // A descriptor that comes apart from its object, in stage V.
            if open.has_descriptor
                && let Some(permissions) = self.cross(&open, handle)
                && let Err(errno) = handle.set_permissions(permissions)
            {
                let error = VolumeError::system("set the permissions of", path_of(handle.fd(), b""), errno);
                self.fail(Failure { ino: open.ino, what: FailedPart::Attributes, error });
            }
            self.set_held(open.ino, handle);
            if let Some(known) = &open.known {
                known.set_birth(None);
            }
        }
        self.discard();
    }

    /// Closes the open object; nothing more is done for it.
    pub(crate) fn discard(&mut self) {
        self.open = None;
        self.properties.clear();
    }

    /// See [`link`](tapedump_core::device::volume::TargetVolume::link).
    pub(crate) fn link(
        &mut self,
        (from, existing): (&Directory, &[u8]),
        (to, name): (&Directory, &[u8]),
    ) -> Result<(), VolumeError> {
        let link = || {
            check_name(existing)?;
            check_name(name)?;
            match fs::linkat(from, existing, to, name, AtFlags::empty()) {
                Err(Errno::EXIST) if is_same(from, existing, to, name)? => Ok(()),
                Err(Errno::EXIST) => {
                    replacing(to, name, || fs::linkat(from, existing, to, name, AtFlags::empty()))
                }
                other => other,
            }
        };
        link().map_err(|errno| VolumeError::system("link", to.path_of(name), errno))
    }
}

impl Open {
    fn path(&self, name: &[u8]) -> PathBuf {
        match (&self.handle, &self.made_in) {
            (Some(handle), _) => path_of(handle.fd(), b""),
            (None, Some(directory)) => directory.path_of(name),
            (None, None) => PathBuf::new(),
        }
    }
}

fn write_all(fd: &rustix::fd::OwnedFd, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = io::retry_on_intr(|| io::pwrite(fd, data, offset))?;
        if written == 0 {
            return Err(Errno::NOSPC);
        }
        offset = offset.checked_add(written as u64).ok_or(Errno::FBIG)?;
        data = data.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn no_object(operation: &'static str) -> VolumeError {
    VolumeError::own(operation, PathBuf::new(), ErrorKind::Invalid, "no object is open")
}
