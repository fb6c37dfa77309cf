//! Catalogs against models.

extern crate std;
