//! Events that wait to be told. Two kinds of them are much larger than the others, and there is one of either at most
//! when a step ends: their content waits beside the queue, so that not every place in it is that large.

use heapless::Deque;

use super::{Damage, DumpInfo, Reduction, RestoreEvent, RestoreStage, RestoreSummary};
use crate::catalog::WhichMap;
use crate::device::volume::{Attributes, Failure, Kind};
use crate::units::{BlockAddr, Ino, TapeNo};

/// The most events that one step tells.
const EVENTS_MAX: usize = 16;

enum Waiting<E> {
    Stage(RestoreStage),
    Dump,
    Catalogued,
    Entry { ino: Ino, parent: Ino, depth: u32, directory: bool },
    Map { which: WhichMap, at: u64 },
    Directory { ino: Ino, at: BlockAddr },
    Object { ino: Ino, at: BlockAddr },
    Apart { ino: Ino, at: BlockAddr },
    End { at: BlockAddr },
    Damage(Damage),
    Reduced { ino: Ino, what: Reduction },
    Failed(Failure<E>),
    NeedTape(TapeNo),
    NeedDump { index: u32 },
}

pub struct Events<E> {
    waiting: Deque<Waiting<E>, EVENTS_MAX>,
    /// Of the one [`Waiting::Dump`].
    dump: Option<DumpInfo>,
    /// Of the one [`Waiting::Directory`] or [`Waiting::Object`].
    attributes: Attributes,
    /// Of the end, behind all others.
    done: Option<RestoreSummary>,
}

impl<E> Events<E> {
    pub const fn new() -> Self {
        let attributes = Attributes::new(Kind::File);
        Self { waiting: Deque::new(), dump: None, attributes, done: None }
    }

    /// Puts an event behind the others; `false`: there is no room for it.
    pub fn push(&mut self, event: RestoreEvent<E>) -> bool {
        let waiting = match event {
            // Nothing is what a step without an event tells.
            RestoreEvent::Working => return true,
            RestoreEvent::Stage(stage) => Waiting::Stage(stage),
            RestoreEvent::Dump(info) => {
                self.dump = Some(info);
                Waiting::Dump
            }
            RestoreEvent::Catalogued => Waiting::Catalogued,
            RestoreEvent::Entry { ino, parent, depth, directory } => {
                Waiting::Entry { ino, parent, depth, directory }
            }
            RestoreEvent::Map { which, at } => Waiting::Map { which, at },
            RestoreEvent::Directory { ino, attributes, at } => {
                self.attributes = attributes;
                Waiting::Directory { ino, at }
            }
            RestoreEvent::Object { ino, attributes, at } => {
                self.attributes = attributes;
                Waiting::Object { ino, at }
            }
            RestoreEvent::Apart { ino, at } => Waiting::Apart { ino, at },
            RestoreEvent::End { at } => Waiting::End { at },
            RestoreEvent::Damage(damage) => Waiting::Damage(damage),
            RestoreEvent::Reduced { ino, what } => Waiting::Reduced { ino, what },
            RestoreEvent::Failed(failure) => Waiting::Failed(failure),
            RestoreEvent::NeedTape(tape) => Waiting::NeedTape(tape),
            RestoreEvent::NeedDump { index } => Waiting::NeedDump { index },
            RestoreEvent::Done(summary) => {
                self.done = Some(summary);
                return true;
            }
        };
        self.waiting.push_back(waiting).is_ok()
    }

    /// No event waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.done.is_none()
    }

    /// The event that waits longest.
    pub fn pop(&mut self) -> Option<RestoreEvent<E>> {
        let Some(waiting) = self.waiting.pop_front() else {
            return self.done.take().map(RestoreEvent::Done);
        };
        Some(match waiting {
            Waiting::Stage(stage) => RestoreEvent::Stage(stage),
            Waiting::Dump => self.dump.take().map_or(RestoreEvent::Working, RestoreEvent::Dump),
            Waiting::Catalogued => RestoreEvent::Catalogued,
            Waiting::Entry { ino, parent, depth, directory } => {
                RestoreEvent::Entry { ino, parent, depth, directory }
            }
            Waiting::Map { which, at } => RestoreEvent::Map { which, at },
            Waiting::Directory { ino, at } => {
                RestoreEvent::Directory { ino, attributes: self.attributes, at }
            }
            Waiting::Object { ino, at } => RestoreEvent::Object { ino, attributes: self.attributes, at },
            Waiting::Apart { ino, at } => RestoreEvent::Apart { ino, at },
            Waiting::End { at } => RestoreEvent::End { at },
            Waiting::Damage(damage) => RestoreEvent::Damage(damage),
            Waiting::Reduced { ino, what } => RestoreEvent::Reduced { ino, what },
            Waiting::Failed(failure) => RestoreEvent::Failed(failure),
            Waiting::NeedTape(tape) => RestoreEvent::NeedTape(tape),
            Waiting::NeedDump { index } => RestoreEvent::NeedDump { index },
        })
    }
}
