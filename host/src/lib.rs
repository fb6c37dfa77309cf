//! Host side of tapedump.
