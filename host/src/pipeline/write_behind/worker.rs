//! One thread that makes objects.

use super::batch::{Batch, Call, Span};
use super::{Alarm, Shared, unmade};
use crate::volume::target::ObjectWriter;
use std::sync::Arc;
use tapedump_core::device::volume::{FailedPart, Failure};
use tapedump_core::units::Ino;

/// One thread that makes objects.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: ObjectWriter,
    /// The object that the calls are for.
    pub(super) ino: Ino,
    /// It failed: the further calls for it are for nothing.
    pub(super) skip: bool,
    /// It was not made: links to its name would be links to something else.
    pub(super) unmade: bool,
}

impl Worker {
    pub(super) fn run(mut self) {
        let _alarm = Alarm(Arc::clone(&self.shared));
        let mut stream = None;
        while let Some(mut batch) = self.shared.take(stream) {
            stream = batch.leaves_open;
            let Batch { bytes, calls, .. } = &mut batch;
            for call in calls.drain(..) {
                self.perform(call, bytes);
            }
            if stream.is_none() {
                // Nothing stays open that no call can reach any more.
                self.writer.discard();
            }
            self.shared.tell(self.writer.failures());
            self.shared.give_back(batch);
        }
    }

    pub(super) fn perform(&mut self, call: Call, bytes: &[u8]) {
        let at = |span: &Span| bytes.get(span.start as usize..span.end as usize).unwrap_or_default();
        let (what, done) = match &call {
            Call::Create { directory, name, ino, attributes } => {
                self.ino = *ino;
                let created = self.writer.create(directory, at(name), *ino, attributes);
                self.unmade = created.is_err();
                self.skip = self.unmade;
                (FailedPart::Create, created)
            }
            Call::Reopen { directory, name, ino, known } => {
                self.ino = *ino;
                let opened = self.writer.reopen(directory, at(name), *ino, known.clone());
                self.skip = opened.is_err();
                (FailedPart::Attributes, opened)
            }
            Call::Link { to, name, ino, .. } if self.unmade && self.ino == *ino => {
                (FailedPart::Link, Err(unmade(to.path_of(at(name)))))
            }
            Call::Link { from, existing, to, name, ino } => {
                self.ino = *ino;
                (FailedPart::Link, self.writer.link((from, at(existing)), (to, at(name))))
            }
            _ if self.skip => return,
            Call::Write { offset, data } => {
                let written = self.writer.write(*offset, at(data));
                self.skip = written.is_err();
                (FailedPart::Data, written)
            }
            Call::Property { kind, name, value_len } => {
                (FailedPart::Property(*kind), self.writer.begin_property(*kind, at(name), *value_len))
            }
            Call::Value { value } => (FailedPart::Attributes, self.writer.write_property(at(value))),
            Call::Finish { attributes } => {
                self.writer.finish(attributes);
                return;
            }
            Call::Release => {
                self.writer.release();
                return;
            }
        };
        if let Err(error) = done {
            if self.skip {
                self.writer.discard();
            }
            self.writer.fail(Failure { ino: self.ino, what, error });
        }
    }
}
