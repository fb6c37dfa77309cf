//! The history as it is used, damaged, and made of anything.

extern crate std;

use std::vec;
use std::vec::Vec;

use super::super::*;
use super::page::{BODY_LEN, HEAD_LEN, RECORD_PAGES_MAX};
use super::*;
use crate::device::fault::SplitMix64;
use crate::device::mem::MemBlock;
use crate::limits::{DUMP_TAPES_MAX, NAME_LEN_MAX, PAGE_LEN, TAPE_LABEL_LEN, TREE_PATH_LEN_MAX};
use crate::units::{BlockAddr, BlockingFactor, DumpId, Ino, Level, Timestamp};
