//! callem

pub mod budget;
