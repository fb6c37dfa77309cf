//! Trees in memory to dump and restore.

use tapedump_core::device::mem::{MemVolume, Node};
use tapedump_core::device::volume::{Attributes, Kind, PropertyKind};
use tapedump_core::units::{Ino, Timestamp};

use crate::sizes::{noise, small_files};

/// Files in a directory.
const FILES_PER_DIRECTORY: usize = 100;

/// What a [`MemVolume`] is made in.
#[derive(Debug)]
pub struct VolumeMemory {
    nodes: Vec<Node>,
    bytes: Vec<u8>,
}

impl VolumeMemory {
    /// Memory for `objects` objects with `len` bytes of data together.
    #[must_use]
    pub fn new(objects: usize, len: usize) -> Self {
        Self { nodes: vec![Node::EMPTY; objects + 8], bytes: vec![0; len + objects * 256 + (1 << 16)] }
    }

    /// An empty volume.
    ///
    /// # Panics
    /// When it is called again for a volume that has no node: never, see [`new`](Self::new).
    pub fn volume(&mut self) -> MemVolume<'_> {
        MemVolume::new(&mut self.nodes, &mut self.bytes).expect("there is a node for the root")
    }
}

/// How a tree is made up.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Sizes of the files.
    pub sizes: Vec<usize>,
    /// Every so many-th file has an extended attribute.
    pub property_every: usize,
}

impl Shape {
    /// Small files.
    #[must_use]
    pub fn small(files: usize) -> Self {
        Self { sizes: small_files(files), property_every: 20 }
    }

    /// One large file.
    #[must_use]
    pub fn large(len: usize) -> Self {
        Self { sizes: vec![len], property_every: usize::MAX }
    }

    /// Bytes in all files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// Whether no file holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Objects in the tree.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.sizes.len() + self.sizes.len().div_ceil(FILES_PER_DIRECTORY) + 1
    }

    /// Memory that the tree fits in.
    #[must_use]
    pub fn memory(&self) -> VolumeMemory {
        VolumeMemory::new(self.objects(), self.len())
    }

    /// Makes the tree.
    ///
    /// # Panics
    /// When `volume` is not in [`memory`](Self::memory) or not empty.
    pub fn fill(&self, volume: &mut MemVolume<'_>) {
        let data = noise(self.sizes.iter().copied().max().unwrap_or(0));
        let mut directory = Ino::ROOT;
        for (index, size) in self.sizes.iter().enumerate() {
            if index % FILES_PER_DIRECTORY == 0 {
                let name = format!("directory-{:04}", index / FILES_PER_DIRECTORY);
                let attributes = attributes(Kind::Directory, index);
                directory = volume.add_directory(Ino::ROOT, name.as_bytes(), &attributes).expect("room");
            }
            let name = format!("file-{index:06}.dat");
            let attributes = attributes(Kind::File, index);
            let file =
                volume.add_file(directory, name.as_bytes(), &attributes, &data[..*size]).expect("room");
            if (index + 1).is_multiple_of(self.property_every) {
                volume.set_property(file, PropertyKind::Xattr, b"user.note", &data[..60]).expect("room");
            }
        }
    }
}

fn attributes(kind: Kind, index: usize) -> Attributes {
    let mut attributes = Attributes::new(kind);
    attributes.permissions = 0o644;
    attributes.uid = 1000;
    attributes.gid = 100;
    attributes.modified = Timestamp { secs: 1_600_000_000 + index as i64, nanos: index as u32 };
    attributes
}
