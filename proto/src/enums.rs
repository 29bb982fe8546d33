//! Every enum of the wire and its word in `model`, in one table each. Zero is "absent" on the wire:
//! refused where a value is required, `None` where it is optional.

use provost_model::policy::{Action, Checkpoint, FailMode, Severity};
use provost_model::record::{BundleEvent, Class, ClockQuality, ElisionReason, SnapshotReason};
use provost_model::verdict::{NotEvaluatedReason, Outcome};

use crate::{Error, v1};

/// A word of `model` that the wire has as an enum.
pub(crate) trait Word: Copy {
    fn to_wire(self) -> i32;

    /// None for zero.
    fn optional(field: &'static str, value: i32) -> Result<Option<Self>, Error>;

    fn required(field: &'static str, value: i32) -> Result<Self, Error> {
        Self::optional(field, value)?.ok_or(Error::Missing { field })
    }
}

pub(crate) fn optional_to_wire<W: Word>(word: Option<W>) -> i32 {
    word.map_or(0, W::to_wire)
}

macro_rules! table {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl Word for $name {
            fn to_wire(self) -> i32 {
                match self {
                    $(Self::$variant => v1::$name::$variant as i32),+
                }
            }

            fn optional(field: &'static str, value: i32) -> Result<Option<Self>, Error> {
                match v1::$name::try_from(value) {
                    Ok(v1::$name::Unspecified) => Ok(None),
                    $(Ok(v1::$name::$variant) => Ok(Some(Self::$variant)),)+
                    Err(_) => Err(Error::Unknown { field, value }),
                }
            }
        }
    };
}

table!(Class { P0, P1, P2 });
table!(ClockQuality { Synced, Local, Suspect });
table!(Outcome { Pass, Fail, Warn, Error, Skip, Exempt });
table!(Action { Deny, Warn, Audit, Off });
table!(FailMode { Open, Closed });
table!(Severity { Info, Low, Medium, High, Critical });
table!(Checkpoint { Commit, Build, Deploy, Run });
table!(SnapshotReason { First, Activation, Elision, Daily, Requested });
table!(NotEvaluatedReason { Inactive, Off, Broken, NotServed, Forbidden, Checkpoint });
table!(BundleEvent { Activated, Refused, PolicySetChanged });
table!(ElisionReason { Cap, Disk, Corrupt, Operator });
