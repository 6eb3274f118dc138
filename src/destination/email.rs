//! Email

/// Email
#[derive(Debug)]
pub struct EmailDestination;
