//! Faults, injected between the engine and a device.
