//! Faults asked for in advance.

use std::collections::VecDeque;

/// What is going to go wrong, in order: each fault so many times.
#[derive(Debug)]
pub struct Faults<F>(VecDeque<(u64, F)>);

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<F: Copy> Faults<F> {
    /// Adds a fault to happen `n` times, after those that are already going to; `u64::MAX` is for ever.
    pub fn add(&mut self, n: u64, fault: F) {
        if n > 0 {
            self.0.push_back((n, fault));
        }
    }

    /// The next fault, if it is one that `applies`; it has happened then.
    pub fn next_if(&mut self, applies: impl FnOnce(&F) -> bool) -> Option<F> {
        let (left, fault) = self.0.front_mut().filter(|(_, fault)| applies(fault))?;
        let fault = *fault;
        if *left < u64::MAX {
            *left -= 1;
        }
        if *left == 0 {
            self.0.pop_front();
        }
        Some(fault)
    }

    /// Whether nothing is going to go wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
