//! Entry points for `crate::fuzzing`: the readers of the tree's values and of backups, given any bytes. Checksums are skipped
//! where they would reject nearly all input before anything else is read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "to panic is what these functions are for")]

use super::{
    archive::Reader,
    block::{Progress, StoredBlock},
    change::{self, Change},
    entry::{EventsHead, Head, Names},
    fault::Fault,
    remembered::{self, Stored},
    value,
};
use crate::event::Event;

/// Reads bytes as each kind of value, of which the first says how long its head is.
pub(crate) fn read_any_value(bytes: &[u8]) {
    let _ = value::unseal(b"key", bytes);
    let _ = value::unsealed(bytes);
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((head, body)) = rest.split_at_checked((*length).into()) else { return };

    let mut record = Head::read(body).and_then(|head| head.record(1, &Names::default())).ok();
    let mut apply = |change: &[u8]| -> Result<(), Fault> {
        if let Some(record) = &mut record {
            Change::read(change)?.apply(record)?;
        }
        Ok(())
    };
    for grouped in change::grouped(head, body).unwrap_or_default() {
        assert_eq!(&body[grouped.at..grouped.at + grouped.change.len()], grouped.change);
        let _ = apply(grouped.change);
    }
    for (_, range) in change::folded(head) {
        let _ = body.get(range).map(&mut apply);
    }
    if let Ok(events) = EventsHead::read(head) {
        for delivery in 0..events.len() {
            let _ = events.range(delivery).and_then(|range| body.get(range)).map(value::from_json::<Event>);
        }
        assert!(events.range(events.len()).is_none());
    }
    let _ = remembered::known("a".into(), head);
    let _ = Stored { head: head.to_vec(), body: body.to_vec() }.snapshot(&"a".into());
    let _ = value::from_compact::<Progress>(body);
    if let Ok(block) = value::from_compact::<StoredBlock>(body) {
        let _ = (block.numbers(1), block.counted());
        let written = value::to_compact(&block).expect("what was read can be written");
        assert_eq!(value::from_compact::<StoredBlock>(&written).expect("and read again"), block);
    }
}

/// Reads bytes as a backup, and as a piece of one.
pub(crate) fn read_any_backup(bytes: &[u8]) {
    let _ = Reader::of(bytes).and_then(Reader::verify);
    if let Ok(writes) = value::to_writes(bytes) {
        assert_eq!(value::to_writes(&value::from_writes(&writes)).ok(), Some(writes));
    }
}
