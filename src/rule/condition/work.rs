//! A budget for the evaluation of a condition. The interpreter has none of its own.
//!
//! Work that can make or scan much is charged before it happens: the operands of `+`, the elements of lists, the
//! arguments of functions, the entries that a macro walks over. So the memory of an evaluation is bounded by the budget
//! and the record, and its time by the budget and the condition's length, whoever wrote it and whatever the call holds.

use std::cell::Cell;

use cel::{
    ExecutionError,
    common::{
        types::{CelBytes, CelList, CelMap, CelString},
        value::Val,
    },
};

/// The most that an evaluation may cost, in bytes: eight times the longest record.
const BUDGET: usize = 32 << 20;

/// The cost of a value besides its text, in bytes.
const VALUE: usize = 64;

/// The function that operands are wrapped in to be charged. No condition can contain its name.
pub(super) const CHARGED: &str = "@charged";

thread_local! {
    /// The budget left to the evaluation that this thread is busy with. The interpreter passes nothing to functions but
    /// their arguments.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Begins an evaluation with a full budget.
pub(super) fn begin() {
    LEFT.set(BUDGET);
}

/// Charges for so many bytes.
///
/// # Errors
/// When the budget is spent.
pub(super) fn charge(bytes: usize) -> Result<(), ExecutionError> {
    let left = LEFT.get().checked_sub(bytes);
    LEFT.set(left.unwrap_or(0));
    left.map(drop).ok_or_else(|| ExecutionError::function_error(CHARGED, "the budget is spent"))
}

/// Charges for a value and all that is in it.
///
/// # Errors
/// When the budget is spent.
pub(super) fn charge_value(value: &dyn Val) -> Result<(), ExecutionError> {
    charge(VALUE)?;
    if let Some(text) = value.downcast_ref::<CelString>() {
        return charge(text.inner().len());
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        return charge(bytes.inner().len());
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().try_for_each(|entry| charge_value(&**entry));
    }
    if let Some(object) = value.downcast_ref::<CelMap>() {
        return object.inner().values().try_for_each(|field| charge_value(&**field));
    }
    Ok(())
}
