//! The wire: generated code of `proto/provost/v1/*.proto`, and the checked conversions between it
//! and `model`. Nothing else in the workspace touches a generated field that a conversion covers.

/// Generated from `proto/provost/v1/*.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod v1 {
    tonic::include_proto!("provost.v1");
}
