//! The whole system in memory: a volume that changes by a seed, a dump engine that keeps its books on block devices and writes to
//! tapes, and a machine whose devices fail. Only the core is used, and of it only what is public; there is no clock.
//!
//! Every run ends in this: what was dumped restores equal, or what does not is told exactly.
//!
//! `TAPEDUMP_SEED` repeats the run of a seed that a failing test printed, `TAPEDUMP_EXHAUSTIVE` makes many more.

#[path = "simulation/catalog.rs"]
mod catalog;
#[path = "simulation/changer.rs"]
mod changer;
#[path = "simulation/cuts.rs"]
mod cuts;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/kept.rs"]
mod kept;
#[path = "simulation/machine.rs"]
mod machine;
#[path = "simulation/system.rs"]
mod system;
#[path = "simulation/verify.rs"]
mod verify;
#[path = "simulation/world.rs"]
mod world;
