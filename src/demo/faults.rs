//! Faults that a simulated server has been told to show.

use std::collections::VecDeque;

/// The faults to come, in order, and how many times each of them happens.
#[derive(Debug)]
pub struct Faults<F>(VecDeque<(u64, F)>);

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<F: Copy> Faults<F> {
    /// Appends a fault that is to happen `n` times; `u64::MAX` means for ever.
    pub fn add(&mut self, n: u64, fault: F) {
        if n > 0 {
            self.0.push_back((n, fault));
        }
    }

    /// Takes the next fault, if it is one that `applies`.
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

    /// Whether no fault is to come.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all faults.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
