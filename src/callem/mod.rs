//! callem
